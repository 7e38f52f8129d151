import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseIp } from '../../src/ip/address.ts';
import { askCarrier } from '../../src/probe/carrier.ts';
import { echoes } from '../../src/probe/echoes.ts';
import { Pinger } from '../../src/probe/pinger.ts';

const skip = process.geteuid?.() === 0 || process.env.CI ? false : 'needs root';

for (const host of [parseIp('127.0.0.1'), parseIp('::1')]) {
  test(`${host}: many at once, each with its own answer`, { skip }, async () => {
    using pinger = new Pinger();
    const all = await Promise.all(
      Array.from({ length: 20 }, () => echoes(pinger, host, { size: 9000, count: 5 })),
    );
    const five = { sent: 5, answered: 5 };
    for (const each of all) assert.deepEqual(each, { small: five, full: five });
  });

  test(`${host}: who is not asked does not answer, nor from elsewhere`, { skip }, async () => {
    using pinger = new Pinger();
    const source = parseIp(host.includes(':') ? '2001:db8::1' : '192.0.2.1');
    assert.deepEqual(await pinger.echo(host, 84, { source }), { refused: 'EADDRNOTAVAIL' });
    assert.deepEqual(await pinger.echo(host, 70_000), { refused: 'EMSGSIZE' });
  });

  test(`${host}: a port that nobody has`, { skip }, async () => {
    using pinger = new Pinger();
    assert.deepEqual(await askCarrier(pinger, host, { udp: 4 }), { unwanted: host });
  });
}

test('its end is the end of what still waits, and of what comes later', { skip }, async () => {
  const pinger = new Pinger();
  const [echo, error] = [
    pinger.echo(parseIp('127.0.0.1'), 84),
    pinger.errorAbout(
      parseIp('127.0.0.1'),
      () => true,
      () => {},
    ),
  ];
  const start = performance.now();
  pinger[Symbol.dispose]();
  assert.deepEqual(await Promise.all([echo, error]), ['silence', undefined]);
  assert.equal(await pinger.echo(parseIp('127.0.0.1'), 84), 'silence');
  assert.ok(performance.now() - start < 500);
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { parseIp } from '../../../src/ip/address.ts';
import { readAnswer as readWanted } from '../../../src/policy/names/answer.ts';
import { type DnsRecord, readResponse as readWantedResponse } from '../../../src/policy/names/message.ts';
import { dnsMessage, type WrittenRecord } from './dns-message.ts';

const [V4, V6, OTHER] = ['192.0.2.1', '2001:db8::1', '198.51.100.9'].map(parseIp) as [never, never, never];
const readAnswer = (bytes: Uint8Array) => readWanted(bytes, () => true);
const readResponse = (bytes: Uint8Array) => readWantedResponse(bytes, () => true);
const label = fc.stringMatching(/^[a-zA-Z0-9_-]{1,12}$/);
const name = fc.array(label, { minLength: 1, maxLength: 5 }).map((labels) => labels.join('.'));
const ip = fc.constantFrom(V4, V6, OTHER);
const ttl = fc.nat(0x7fffffff);
const record: fc.Arbitrary<WrittenRecord> = fc.oneof(
  fc.record({ owner: name, ttl, ip }),
  fc.record({ owner: name, ttl, alias: name }),
  fc.record({ owner: name, ttl, type: fc.constantFrom(2, 16, 46), data: fc.uint8Array({ maxLength: 40 }) }),
);
const message = fc.record({
  question: name,
  records: fc.array(record, { maxLength: 8 }),
  isCompressed: fc.boolean(),
});

test('what is written is read, with names in lower case and whatever the compression', () => {
  fc.assert(
    fc.property(message, (written) => {
      const lower = (text: string): string => text.toLowerCase();
      const records = written.records.flatMap((each): DnsRecord[] => {
        const common = { owner: lower(each.owner), ttl: each.ttl ?? 300 };
        if ('ip' in each) return [{ ...common, type: 'address', ip: each.ip }];
        return 'alias' in each ? [{ ...common, type: 'alias', target: lower(each.alias) }] : [];
      });
      assert.deepEqual(readResponse(dnsMessage(written)), { name: lower(written.question), records });
    }),
  );
});

test('no bytes make it throw, and a message that is cut within its answers is none', () => {
  fc.assert(
    fc.property(
      message,
      fc.nat(),
      fc.array(fc.tuple(fc.nat(), fc.nat(255)), { maxLength: 4 }),
      (written, cut, changes) => {
        const whole = dnsMessage(written);
        const damaged = Buffer.from(whole);
        for (const [at, byte] of changes) damaged[at % damaged.length] = byte;
        readAnswer(damaged);
        assert.equal(readResponse(whole.subarray(0, cut % whole.length)), undefined);
      },
    ),
    { numRuns: 2000 },
  );
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 600 }), (bytes) => void readAnswer(bytes)),
    { numRuns: 2000 },
  );
});

test('pointers lead back only: none leads in a circle, and names have at most 255 bytes', () => {
  const at = (bytes: number[]): Buffer =>
    Buffer.concat([Buffer.from([0, 7, 0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0]), Buffer.from(bytes)]);
  const end = [0, 1, 0, 1];
  assert.equal(readResponse(at([1, 97, 0, ...end]))?.name, 'a');
  // To itself, to each other, forward, and into the header.
  for (const bytes of [
    [0xc0, 12],
    [0xc0, 14, 0xc0, 12],
    [1, 97, 0xc0, 12],
    [0xc0, 20],
    [0xc0, 0],
    [0x40, 0],
    [0x80, 0],
  ])
    assert.equal(readResponse(at([...bytes, ...end, ...end])), undefined, `${bytes}`);
  const long = (count: number): number[] => [
    ...Array(count)
      .fill([63, ...Array(63).fill(97)])
      .flat(),
    0,
  ];
  assert.ok(readResponse(at([...long(3), ...end])));
  assert.equal(readResponse(at([...long(4), ...end])), undefined);
  // As large as messages are, all pointers: each is a name of the same 200 bytes.
  const question = Array.from({ length: 40 }, () => 'abcd').join('.');
  const records = Array.from({ length: 5000 }, () => ({ owner: question, ip: V4 }) as WrittenRecord);
  const begin = performance.now();
  assert.equal(readAnswer(dnsMessage({ question, records }))?.addresses.length, 5000);
  assert.ok(performance.now() - begin < 2000);
});

test('only answers without error to one question count', () => {
  const records = [{ owner: 'a.example', ip: V4 }];
  const of = (flags: number) => readAnswer(dnsMessage({ question: 'a.example', records, flags }));
  assert.ok(of(0x8180));
  assert.ok(of(0x8380), 'a cut answer is true as far as it goes');
  for (const flags of [0x0100, 0x8183, 0x8182, 0xa180])
    assert.equal(of(flags), undefined, flags.toString(16));
  const two = dnsMessage({ question: 'a.example', records });
  two.writeUInt16BE(2, 4);
  assert.equal(readAnswer(two), undefined);
});

test('addresses behind aliases are the asked name’s, for the shortest time on the way', () => {
  const records: WrittenRecord[] = [
    { owner: 'cdn.example', ttl: 50, alias: 'edge.example' },
    { owner: 'WWW.example', ttl: 20, alias: 'cdn.example' },
    { owner: 'edge.example', ttl: 70, ip: V4 },
    { owner: 'edge.example', ttl: 10, ip: V6 },
  ];
  assert.deepEqual(readAnswer(dnsMessage({ question: 'www.EXAMPLE', records })), {
    name: 'www.example',
    addresses: [
      { ip: V4, ttl: 20 },
      { ip: V6, ttl: 10 },
    ],
  });
});

test('nothing is believed of a name that was not asked for', () => {
  const lie: WrittenRecord = { owner: 'bank.example', ip: OTHER };
  const of = (question: string, ...records: WrittenRecord[]) =>
    readAnswer(dnsMessage({ question, records: [...records, lie] }));
  assert.equal(of('evil.example'), undefined);
  assert.deepEqual(of('evil.example', { owner: 'evil.example', ip: V4 })?.addresses, [{ ip: V4, ttl: 300 }]);
  // An alias for it is still the evil name's.
  assert.equal(of('evil.example', { owner: 'evil.example', alias: 'bank.example' })?.name, 'evil.example');
  const circle: WrittenRecord[] = [
    { owner: 'a.example', alias: 'b.example' },
    { owner: 'b.example', alias: 'a.example' },
  ];
  assert.equal(of('a.example', ...circle), undefined);
});

test('a dot inside a label is none between two', () => {
  const label = Buffer.from('evil.example');
  const question = Buffer.from([label.length, ...label, 3, ...Buffer.from('org'), 0, 0, 1, 0, 1]);
  const head = Buffer.from([0, 7, 0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0]);
  assert.equal(readResponse(Buffer.concat([head, question]))?.name, 'evil\\046example.org');
});

test('addresses that no name stands for are not believed', () => {
  const of = (text: string) =>
    readAnswer(dnsMessage({ question: 'a.example', records: [{ owner: 'a.example', ip: parseIp(text) }] }));
  for (const text of ['127.0.0.1', '0.0.0.0', '169.254.169.254', '224.0.0.1', '255.255.255.255'])
    assert.equal(of(text), undefined, text);
  for (const text of ['::', '::1', 'fe80::1', 'ff02::1', '::ffff:192.0.2.1', '::192.0.2.1'])
    assert.equal(of(text), undefined, text);
  for (const text of ['10.0.0.1', '192.168.1.1', 'fd00::1', '2001:db8::1']) assert.ok(of(text), text);
});

test('of an answer about a name that nobody wants, only the question is read', () => {
  const records = [{ owner: 'a.example', ip: V4 }];
  const whole = dnsMessage({ question: 'a.example', records });
  const asked: string[] = [];
  const isWanted = (about: string): boolean => {
    asked.push(about);
    return false;
  };
  // Behind it, the message is cut.
  for (const bytes of [whole, whole.subarray(0, 27)]) assert.equal(readWanted(bytes, isWanted), undefined);
  assert.deepEqual(asked, ['a.example', 'a.example']);
});

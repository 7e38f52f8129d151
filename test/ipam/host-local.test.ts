import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { familyOf, type Ip, parseIp } from '../../src/ip/address.ts';
import { parseCidr } from '../../src/ip/cidr.ts';
import { HostLocal, type Owner } from '../../src/ipam/host-local.ts';
import { type RangeSet, rangeOf } from '../../src/ipam/ranges.ts';
import type { Files } from '../../src/ipam/reservations.ts';

const V4: RangeSet = [rangeOf(parseCidr('10.1.2.0/24'))];
const V6: RangeSet = [rangeOf(parseCidr('fd00:1::/64'))];
const TINY: RangeSet = [rangeOf(parseCidr('10.1.3.0/29'))];

const owner = (containerId: string, ifName = 'eth0'): Owner => ({ containerId, ifName });

function folder(t: TestContext): string {
  const dir = fs.mkdtempSync(join(tmpdir(), 'flatnet-host-local-'));
  t.after(() => fs.rmSync(dir, { recursive: true }));
  return join(dir, 'networks/cbr0');
}

/** File names in the directory, but for spare files, with their contents. */
function contents(dir: string): Record<string, string> {
  return Object.fromEntries(
    fs
      .readdirSync(dir)
      .filter((name) => !isSpare(name))
      .sort()
      .map((name) => [name, fs.readFileSync(join(dir, name), 'utf8')]),
  );
}

function isSpare(name: string): boolean {
  return name.startsWith('.spare-');
}

/** Changes a file as another process would, with the given mtime. */
function put(dir: string, name: string, text: string, secondsAgo = 0): void {
  fs.mkdirSync(dir, { recursive: true });
  fs.writeFileSync(join(dir, name), text);
  const then = Date.now() / 1000 - secondsAgo;
  fs.utimesSync(join(dir, name), then, then);
}

describe('HostLocal.allocate', () => {
  it("writes host-local's files", (t) => {
    const dir = folder(t);
    const given = HostLocal.open(dir, [V4, V6]).allocate(owner('abc'));
    assert.deepEqual(given, [
      { address: '10.1.2.2/24', gateway: '10.1.2.1' },
      { address: 'fd00:1::2/64', gateway: 'fd00:1::1' },
    ]);
    assert.deepEqual(contents(dir), {
      '10.1.2.2': 'abc\r\neth0',
      'fd00:1::2': 'abc\r\neth0',
      'last_reserved_ip.0': '10.1.2.2',
      'last_reserved_ip.1': 'fd00:1::2',
    });
    assert.equal(fs.statSync(dir).mode & 0o777, 0o755);
    assert.equal(fs.statSync(join(dir, '10.1.2.2')).mode & 0o777, 0o600);
  });

  it('goes through the whole range before it reuses an address', (t) => {
    const dir = folder(t);
    const ipam = HostLocal.open(dir, [TINY]);
    const seen = Array.from({ length: 12 }, (_, i) => {
      const [given] = ipam.allocate(owner(`c${i}`));
      ipam.release(owner(`c${i}`));
      return given?.address.replace(/.*\.(\d+)\/.*/, '$1');
    });
    assert.equal(seen.join(' '), '2 3 4 5 6 2 3 4 5 6 2 3');
    assert.deepEqual(contents(dir), { 'last_reserved_ip.0': '10.1.3.3' });
  });

  it('continues after a restart where it left off', (t) => {
    const dir = folder(t);
    HostLocal.open(dir, [TINY]).allocate(owner('a'));
    HostLocal.open(dir, [TINY]).release(owner('a'));
    assert.equal(HostLocal.open(dir, [TINY]).allocate(owner('b'))[0]?.address, '10.1.3.3/29');
  });

  for (const last of ['', '10.1', '10.9.9.9', 'fd00::1', '\u0000\u0000']) {
    it(`starts from the beginning when last_reserved_ip reads ${JSON.stringify(last)}`, (t) => {
      const dir = folder(t);
      put(dir, 'last_reserved_ip.0', last);
      assert.equal(HostLocal.open(dir, [TINY]).allocate(owner('a'))[0]?.address, '10.1.3.2/29');
      assert.equal(fs.readFileSync(join(dir, 'last_reserved_ip.0'), 'utf8'), '10.1.3.2');
    });
  }

  it('refuses a second allocation for the same owner', (t) => {
    const ipam = HostLocal.open(folder(t), [V4, V6]);
    ipam.allocate(owner('a'));
    const twice = {
      code: 'ADDRESS_TAKEN',
      message: '10.1.2.2 has been allocated to a, duplicate allocation is not allowed',
    };
    assert.throws(() => ipam.allocate(owner('a')), twice);
    assert.throws(() => ipam.allocate(owner('a'), [parseIp('10.1.2.9')]), twice);
    assert.equal(ipam.allocate(owner('a', 'net1'))[0]?.address, '10.1.2.3/24');
    ipam.release(owner('a'));
    assert.equal(ipam.allocate(owner('a'))[0]?.address, '10.1.2.4/24');
  });

  it('reports an exhausted set and releases the addresses of the other sets', (t) => {
    const dir = folder(t);
    const ipam = HostLocal.open(dir, [V6, TINY]);
    for (let i = 0; i < 5; i++) ipam.allocate(owner(`c${i}`));
    assert.throws(() => ipam.allocate(owner('late')), {
      code: 'OUT_OF_ADDRESSES',
      message: /no IP addresses available in range set: 10\.1\.3\.1-10\.1\.3\.6/,
    });
    assert.deepEqual(ipam.check(owner('late')), []);
    assert.equal(ipam.list().length, 10);
    ipam.release(owner('c3'));
    assert.equal(ipam.allocate(owner('late'))[1]?.address, '10.1.3.5/29');
  });
});

describe('a requested address', () => {
  it('is assigned, and the round robin continues from it', (t) => {
    const ipam = HostLocal.open(folder(t), [V4, V6]);
    const given = ipam.allocate(owner('a'), [parseIp('fd00:1::77'), parseIp('10.1.2.77')]);
    assert.deepEqual(
      given.map(({ address }) => address),
      ['10.1.2.77/24', 'fd00:1::77/64'],
    );
    assert.equal(ipam.allocate(owner('b'), [parseIp('fd00:1::9')])[0]?.address, '10.1.2.78/24');
  });

  const refused: [string, string[], string, RegExp][] = [
    [
      'another has',
      ['10.1.2.2'],
      'ADDRESS_TAKEN',
      /requested IP address 10\.1\.2\.2 is not available in range set 10\.1\.2\.1-10\.1\.2\.254/,
    ],
    ['is the gateway', ['10.1.2.1'], 'CONFIG_INVALID', /requested ip 10\.1\.2\.1 is subnet's gateway/],
    [
      'is the broadcast address',
      ['10.1.2.255'],
      'CONFIG_INVALID',
      /failed to allocate all requested IPs: 10\.1\.2\.255/,
    ],
    [
      'is outside',
      ['10.1.2.9', '10.9.9.9'],
      'CONFIG_INVALID',
      /failed to allocate all requested IPs: 10\.9\.9\.9/,
    ],
    [
      'is the second of its set',
      ['10.1.2.9', '10.1.2.8'],
      'CONFIG_INVALID',
      /failed to allocate all requested IPs: 10\.1\.2\.8/,
    ],
  ];
  for (const [what, ips, code, message] of refused) {
    it(`that ${what} is refused, and nothing is reserved`, (t) => {
      const dir = folder(t);
      const ipam = HostLocal.open(dir, [V6, V4]);
      ipam.allocate(owner('other'));
      const before = ipam.list();
      assert.throws(() => ipam.allocate(owner('a'), ips.map(parseIp)), { code, message });
      assert.deepEqual(ipam.list(), before);
    });
  }
});

describe('HostLocal.release, check, list', () => {
  it('distinguish interfaces and accept a release of nothing', (t) => {
    const ipam = HostLocal.open(folder(t), [V4]);
    ipam.allocate(owner('a'));
    ipam.allocate(owner('a', 'net1'));
    ipam.allocate(owner('aa'));
    assert.deepEqual(ipam.check(owner('a', 'net1')), ['10.1.2.3']);
    assert.deepEqual(ipam.release(owner('a')), ['10.1.2.2']);
    assert.deepEqual(ipam.release(owner('a')), []);
    assert.deepEqual(ipam.check(owner('a')), []);
    assert.deepEqual(ipam.list(), [
      { ip: '10.1.2.3', containerId: 'a', ifName: 'net1' },
      { ip: '10.1.2.4', containerId: 'aa', ifName: 'eth0' },
    ]);
  });

  it('also release addresses outside the configured ranges', (t) => {
    const dir = folder(t);
    HostLocal.open(dir, [V4, V6]).allocate(owner('a'));
    assert.deepEqual(HostLocal.open(dir, [TINY]).release(owner('a')).sort(), ['10.1.2.2', 'fd00:1::2']);
  });

  it('read files of old releases, which name no interface', (t) => {
    const dir = folder(t);
    put(dir, '10.1.2.2', 'old');
    put(dir, '10.1.2.3', 'old\n');
    const ipam = HostLocal.open(dir, [V4]);
    assert.deepEqual(ipam.check(owner('old')), ['10.1.2.2', '10.1.2.3']);
    assert.throws(() => ipam.allocate(owner('old')), { code: 'ADDRESS_TAKEN' });
    put(dir, '10.1.2.4', 'old\r\neth0');
    assert.deepEqual(ipam.release(owner('old')), ['10.1.2.4'], 'its own first');
    assert.deepEqual(ipam.release(owner('old')), ['10.1.2.2', '10.1.2.3']);
  });

  it('recreate the directory after it was removed', (t) => {
    const dir = folder(t);
    const ipam = HostLocal.open(dir, [V4]);
    ipam.allocate(owner('a'));
    fs.rmSync(dir, { recursive: true });
    assert.deepEqual(ipam.release(owner('a')), []);
    fs.rmSync(dir, { recursive: true });
    assert.equal(ipam.allocate(owner('b'))[0]?.address, '10.1.2.2/24');
  });

  it('fail with the path and errno when the directory cannot be created', (t) => {
    const dir = folder(t);
    fs.mkdirSync(join(dir, '..'), { recursive: true });
    fs.writeFileSync(dir, '');
    assert.throws(() => HostLocal.open(join(dir, 'x'), [V4]).allocate(owner('a')), {
      code: 'IO',
      errno: 'ENOTDIR',
    });
  });
});

describe('another process in the same directory', () => {
  it('has all of its changes noticed', (t) => {
    const dir = folder(t);
    const [a, b] = [HostLocal.open(dir, [TINY]), HostLocal.open(dir, [TINY])];
    a.allocate(owner('p'));
    assert.throws(() => b.allocate(owner('p')), { code: 'ADDRESS_TAKEN' });
    assert.equal(b.allocate(owner('q'))[0]?.address, '10.1.3.3/29');
    assert.deepEqual(a.release(owner('q')), ['10.1.3.3']);
    assert.deepEqual(b.release(owner('q')), []);
    assert.deepEqual(b.release(owner('p')), ['10.1.3.2']);
    for (let i = 0; i < 5; i++) (i % 2 ? a : b).allocate(owner(`c${i}`));
    assert.throws(() => a.allocate(owner('late')), { code: 'OUT_OF_ADDRESSES' });
    b.release(owner('c0'));
    assert.equal(a.allocate(owner('late')).length, 1);
  });

  it('may change the directory within one clock tick, leaving its mtime unchanged', (t) => {
    const dir = folder(t);
    const ipam = HostLocal.open(dir, [TINY], {
      ...fs,
      statSync: (path, options) => (path === dir ? { mtimeNs: 1n } : fs.statSync(path, options)),
    });
    fs.mkdirSync(dir, { recursive: true });
    ipam.allocate(owner('a'));
    put(dir, '10.1.3.3', 'b\r\neth0');
    assert.equal(ipam.allocate(owner('c'))[0]?.address, '10.1.3.4/29', 'an unknown file is not overwritten');
    assert.deepEqual(ipam.release(owner('b')), ['10.1.3.3']);
    fs.unlinkSync(join(dir, '10.1.3.2'));
    put(dir, '10.1.3.2', 'd\r\neth0');
    assert.deepEqual(ipam.release(owner('a')), [], 'the address now belongs to d');
    assert.equal(fs.existsSync(join(dir, '10.1.3.2')), true);
    fs.unlinkSync(join(dir, '10.1.3.4'));
    for (let i = 0; i < 4; i++) ipam.allocate(owner(`e${i}`));
    assert.throws(() => ipam.allocate(owner('late')), { code: 'OUT_OF_ADDRESSES' });
  });
});

describe('files of released addresses', () => {
  const spares = (dir: string): string[] => fs.readdirSync(dir).filter(isSpare);

  it('are used for the next reservations, and removed by GC', (t) => {
    const dir = folder(t);
    const ipam = HostLocal.open(dir, [TINY]);
    const inode = (ip: string): number => fs.statSync(join(dir, ip)).ino;
    ipam.allocate(owner('with-a-long-name'));
    const first = inode('10.1.3.2');
    ipam.release(owner('with-a-long-name'));
    const [spare = ''] = spares(dir);
    assert.equal(fs.readFileSync(join(dir, spare), 'utf8'), '');
    ipam.allocate(owner('b'));
    assert.equal(inode('10.1.3.3'), first);
    assert.equal(contents(dir)['10.1.3.3'], 'b\r\neth0');
    ipam.release(owner('b'));
    ipam.allocate(owner('c'));
    ipam.gc([]);
    assert.deepEqual(spares(dir), []);
  });

  it('serve one pod each, although the two addresses of a dual-stack pod were links to one file', (t) => {
    const dir = folder(t);
    const ipam = HostLocal.open(dir, [V4, V6]);
    ipam.allocate(owner('a'));
    ipam.release(owner('a'));
    assert.equal(spares(dir).length, 1);
    for (const id of ['b', 'c', 'd']) ipam.allocate(owner(id));
    const { 'last_reserved_ip.0': _v4, 'last_reserved_ip.1': _v6, ...held } = contents(dir);
    assert.deepEqual(
      Object.values(held).sort(),
      ['b', 'b', 'c', 'c', 'd', 'd'].map((id) => `${id}\r\neth0`),
    );
  });

  it('may be removed, or linked elsewhere, by others in the meantime', (t) => {
    const dir = folder(t);
    const ipam = HostLocal.open(dir, [TINY]);
    for (const id of ['a', 'b']) ipam.allocate(owner(id));
    for (const id of ['a', 'b']) ipam.release(owner(id));
    const [gone = '', linked = ''] = spares(dir);
    fs.rmSync(join(dir, gone));
    fs.linkSync(join(dir, linked), join(dir, 'backup'));
    const backup = contents(dir).backup;
    for (const id of ['c', 'd']) ipam.allocate(owner(id));
    assert.deepEqual(contents(dir), {
      '10.1.3.4': 'c\r\neth0',
      '10.1.3.5': 'd\r\neth0',
      backup,
      'last_reserved_ip.0': '10.1.3.5',
    });
  });

  it('may be swept away by another process at any moment', (t) => {
    const dir = folder(t);
    let sweeps = 0;
    const linkSync = (from: string, to: string): void => {
      if (sweeps++ === 0) fs.rmSync(from);
      fs.linkSync(from, to);
    };
    const ipam = HostLocal.open(dir, [V4, V6], { ...fs, linkSync } as Files);
    ipam.allocate(owner('a'));
    assert.deepEqual(
      [contents(dir)['10.1.2.2'], contents(dir)['fd00:1::2'], sweeps],
      ['a\r\neth0', 'a\r\neth0', 3],
    );
    assert.deepEqual(spares(dir), []);
  });

  it('are not kept if they cannot be emptied, and the address is free nevertheless', (t) => {
    const dir = folder(t);
    const ipam = HostLocal.open(dir, [TINY]);
    ipam.allocate(owner('a'));
    const [path, target] = [join(dir, '10.1.3.2'), join(dir, 'elsewhere')];
    fs.renameSync(path, target);
    fs.symlinkSync(target, path);
    assert.deepEqual(ipam.release(owner('a')), ['10.1.3.2']);
    assert.equal(fs.readFileSync(target, 'utf8'), 'a\r\neth0');
    assert.deepEqual([spares(dir), fs.existsSync(path)], [[], false]);
  });

  it('are kept in limited number', (t) => {
    const dir = folder(t);
    const ipam = HostLocal.open(dir, [V4]);
    const owners = Array.from({ length: 100 }, (_, i) => owner(`c${i}`));
    for (const each of owners) ipam.allocate(each);
    for (const each of owners) ipam.release(each);
    assert.equal(spares(dir).length, 64);
  });
});

describe('files without a pod', () => {
  it('block their addresses, and foreign ones are never touched', (t) => {
    const dir = folder(t);
    put(dir, '10.1.3.2', '');
    put(dir, '10.1.3.3', 'kept for the printer');
    fs.mkdirSync(join(dir, '10.1.3.4'));
    const others = { lock: '', 'notes.txt': 'a\r\neth0', '010.1.3.5': 'a\r\neth0', 'FD00::1': 'a\r\neth0' };
    for (const [name, text] of Object.entries(others)) put(dir, name, text);
    const ipam = HostLocal.open(dir, [TINY]);
    assert.equal(ipam.allocate(owner('a'))[0]?.address, '10.1.3.5/29');
    assert.deepEqual(ipam.release(owner('a')), ['10.1.3.5']);
    assert.deepEqual(
      ipam.list(),
      [2, 3, 4].map((n) => ({ ip: `10.1.3.${n}`, containerId: '', ifName: '' })),
    );
    ipam.gc([]);
    for (const [name, text] of Object.entries(others))
      assert.equal(fs.readFileSync(join(dir, name), 'utf8'), text);
  });

  it('are garbage after a minute if empty', (t) => {
    const dir = folder(t);
    put(dir, '10.1.3.2', '', 61);
    put(dir, '10.1.3.3', '', 5);
    put(dir, '10.1.3.4', 'kept for the printer', 1000);
    put(dir, '.reserve-old', 'x\r\neth0', 61);
    put(dir, '.reserve-new', 'x\r\neth0', 5);
    assert.deepEqual(HostLocal.open(dir, [TINY]).gc([]), ['10.1.3.2']);
    assert.deepEqual(fs.readdirSync(dir).sort(), ['.reserve-new', '10.1.3.3', '10.1.3.4']);
  });

  it('are garbage as well if a power cut left zeros, or the clock has been set back since', (t) => {
    const dir = folder(t);
    put(dir, '10.1.3.2', '\0'.repeat(17), 61);
    put(dir, '10.1.3.3', '', -3600);
    put(dir, '10.1.3.4', '\0\0', 5);
    put(dir, '10.1.3.5', '\0\0a\r\neth0', 61);
    assert.deepEqual(HostLocal.open(dir, [TINY]).sweep().sort(), ['10.1.3.2', '10.1.3.3']);
    assert.deepEqual(HostLocal.open(dir, [TINY]).check(owner('a')), ['10.1.3.5']);
  });

  it('fill no range: the empty ones go when no other address is left (plugins#498)', (t) => {
    const dir = folder(t);
    for (let n = 2; n <= 6; n++) put(dir, `10.1.3.${n}`, '', n === 4 ? 61 : 5);
    const ipam = HostLocal.open(dir, [TINY]);
    assert.equal(ipam.allocate(owner('a'))[0]?.address, '10.1.3.4/29');
    // The others may belong to an ADD that is just writing them.
    assert.throws(() => ipam.allocate(owner('b')), { code: 'OUT_OF_ADDRESSES' });
  });

  it('do not stand in the way of others if one cannot be read', (t) => {
    const dir = folder(t);
    fs.mkdirSync(dir, { recursive: true });
    fs.symlinkSync('10.1.3.2', join(dir, '10.1.3.2'));
    const ipam = HostLocal.open(dir, [TINY]);
    assert.equal(ipam.allocate(owner('a'))[0]?.address, '10.1.3.3/29');
    ipam.sweep();
    assert.deepEqual(ipam.gc([]), ['10.1.3.3']);
  });

  it('belong to a pod once their writer fills them', (t) => {
    const dir = folder(t);
    put(dir, '10.1.3.2', '');
    const ipam = HostLocal.open(dir, [TINY]);
    assert.deepEqual(ipam.check(owner('slow')), []);
    put(dir, '10.1.3.2', 'slow\r\neth0');
    assert.deepEqual(ipam.release(owner('slow')), ['10.1.3.2']);
  });
});

describe('HostLocal.gc', () => {
  it('releases addresses that belong to no live pod', (t) => {
    const dir = folder(t);
    const ipam = HostLocal.open(dir, [V4, V6]);
    for (const id of ['a', 'b', 'c']) ipam.allocate(owner(id));
    ipam.allocate(owner('a', 'net1'));
    put(dir, '10.1.2.100', 'b');
    put(dir, '10.1.2.101', 'gone');
    const freed = ipam.gc([owner('a', 'net1'), owner('b')]);
    const v4 = freed.filter((ip: Ip) => familyOf(ip) === 4);
    assert.deepEqual(v4.sort(), ['10.1.2.101', '10.1.2.2', '10.1.2.4']);
    assert.deepEqual(freed.length, 5);
    assert.deepEqual(ipam.gc([owner('a', 'net1'), owner('b')]), []);
  });
});

describe('110 pods', () => {
  it('come and go without rereading the directory each time', (t) => {
    const ipam = HostLocal.open(folder(t), [V4, V6]);
    const times: number[] = [];
    for (let i = 0; i < 110; i++) {
      const before = performance.now();
      ipam.allocate(owner(`c${i}`));
      times.push(performance.now() - before);
    }
    assert.equal(new Set(ipam.list().map(({ ip }) => ip)).size, 220);
    for (let i = 0; i < 110; i++) assert.equal(ipam.release(owner(`c${i}`)).length, 2);
    const median = times.sort((a, b) => a - b)[55] ?? 0;
    t.diagnostic(`dual-stack allocation, median: ${median.toFixed(3)} ms`);
    assert.ok(median < 10);
  });
});

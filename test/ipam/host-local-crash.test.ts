import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import fc from 'fast-check';
import { codeOf } from '../../src/error.ts';
import { isIp } from '../../src/ip/address.ts';
import { addressOf, parseCidr } from '../../src/ip/cidr.ts';
import { HostLocal, type Owner } from '../../src/ipam/host-local.ts';
import { type RangeSet, rangeOf } from '../../src/ipam/ranges.ts';
import type { Files } from '../../src/ipam/reservations.ts';

/** Six IPv6 addresses and five IPv4: few enough to run out after one of the other family was reserved. */
const SETS: readonly RangeSet[] = [[rangeOf(parseCidr('fd00:1::/125'))], [rangeOf(parseCidr('10.1.3.0/29'))]];
const OWNERS: readonly Owner[] = Array.from({ length: 8 }, (_, i) => ({
  containerId: `c${i}`,
  ifName: 'eth0',
}));

class Killed extends Error {}

/**
 * The real file system until the process is killed before or during one of its calls; then every call fails.
 */
class Process {
  readonly files: Files;
  #calls = 0;
  #killAt = Number.POSITIVE_INFINITY;
  #halfway = false;
  killed = false;

  constructor() {
    const call = <A extends unknown[], R>(real: (...args: A) => R, half?: (...args: A) => unknown) => {
      return (...args: A): R => {
        if (this.killed) throw new Killed();
        this.killed = this.#calls++ === this.#killAt;
        if (!this.killed) return real(...args);
        if (this.#halfway) (half ?? real)(...args);
        throw new Killed();
      };
    };
    this.files = {
      closeSync: call(fs.closeSync),
      fstatSync: call((fd: number) => fs.fstatSync(fd)),
      ftruncateSync: call(fs.ftruncateSync),
      linkSync: call(fs.linkSync),
      mkdirSync: call((path: string, options: { recursive: true; mode: number }) =>
        fs.mkdirSync(path, options),
      ),
      openSync: call((path: string, flags: number, mode: number) => fs.openSync(path, flags, mode)),
      readdirSync: call((path: string) => fs.readdirSync(path)),
      readFileSync: call((path: string) => fs.readFileSync(path, 'utf8')),
      renameSync: call((from: string, to: string) => fs.renameSync(from, to)),
      statSync: call((path: string, options: { bigint: true; throwIfNoEntry: false }) =>
        fs.statSync(path, options),
      ),
      unlinkSync: call(fs.unlinkSync),
      writeSync: call(
        (fd: number, text: string, position: number) => fs.writeSync(fd, text, position),
        (fd, text, position) => fs.writeSync(fd, text.slice(0, text.length / 2), position),
      ),
    };
  }

  /** Dies in call `number`, counted from now: before it has any effect, or halfway through. */
  killIn(number: number, halfway: boolean): void {
    this.#killAt = this.#calls + number;
    this.#halfway = halfway;
  }
}

type Step = {
  readonly verb: 'add' | 'del' | 'gc';
  readonly owner: number;
  /** Which of the two processes runs it. */
  readonly by: 0 | 1;
  /** Killed in this call, if it makes that many. */
  readonly killIn?: number | undefined;
  readonly halfway: boolean;
};

const step: fc.Arbitrary<Step> = fc.record({
  verb: fc.constantFrom('add', 'add', 'add', 'del', 'del', 'gc'),
  owner: fc.nat(OWNERS.length - 1),
  by: fc.constantFrom(0, 1),
  killIn: fc.option(fc.nat(20), { nil: undefined, freq: 2 }),
  halfway: fc.boolean(),
});

type Running = { readonly process: Process; readonly ipam: HostLocal };

/**
 * The runtime's state: pods whose ADD was answered, and those with an interrupted ADD or DEL, to be deleted.
 */
class Runtime {
  readonly dir: string;
  readonly live = new Map<Owner, readonly string[]>();
  readonly doubtful = new Set<Owner>();
  #processes: Running[];

  constructor(dir: string) {
    this.dir = dir;
    this.#processes = [this.#start(), this.#start()];
  }

  /** Returns the process that ran it, or died running it. */
  run({ verb, owner: index, by, killIn, halfway }: Step): Process {
    const owner = OWNERS[index] as Owner;
    const { process, ipam } = this.#processes[by] as Running;
    if (killIn !== undefined) process.killIn(killIn, halfway);
    try {
      if (verb === 'add') this.#add(ipam, owner);
      else if (verb === 'del') this.#del(ipam, owner);
      else ipam.gc([...this.live.keys()]);
      if (verb === 'gc') this.doubtful.clear();
    } catch (error) {
      if (!process.killed) throw error;
      if (verb !== 'gc' && !(verb === 'add' && this.live.has(owner))) {
        this.live.delete(owner);
        this.doubtful.add(owner);
      }
      this.#processes[by] = this.#start();
    }
    process.killIn(Number.POSITIVE_INFINITY, false);
    return process;
  }

  #add(ipam: HostLocal, owner: Owner): void {
    const before = this.reserved();
    try {
      const given = ipam.allocate(owner).map(({ address }) => addressOf(address));
      assert.equal(given.length, SETS.length);
      for (const ip of given) assert.equal(before.get(ip), undefined, `${ip} assigned twice`);
      assert.ok(!this.live.has(owner), 'a second address for the same owner');
      this.live.set(owner, given);
      this.doubtful.delete(owner);
    } catch (error) {
      if (codeOf(error) === 'ADDRESS_TAKEN') assert.ok(this.live.has(owner) || this.doubtful.has(owner));
      else if (codeOf(error) === 'OUT_OF_ADDRESSES') {
        const v4 = [...before.keys()].filter((ip) => ip.includes('.')).length;
        assert.ok(v4 === 5 || before.size - v4 === 6, 'there were free addresses');
      } else throw error;
    }
  }

  #del(ipam: HostLocal, owner: Owner): void {
    const released = ipam.release(owner);
    const expected = this.live.get(owner);
    if (expected) assert.deepEqual(released.sort(), [...expected].sort());
    else if (!this.doubtful.has(owner)) assert.deepEqual(released, []);
    this.live.delete(owner);
    this.doubtful.delete(owner);
  }

  /** After any step: live pods have their addresses on disk, and only doubtful pods may have others. */
  check(): void {
    const reserved = this.reserved();
    for (const [{ containerId, ifName }, ips] of this.live) {
      for (const ip of ips) assert.equal(reserved.get(ip), `${containerId}\r\n${ifName}`);
    }
    const known = new Set(
      [...this.live.keys(), ...this.doubtful].map((o) => `${o.containerId}\r\n${o.ifName}`),
    );
    for (const [ip, text] of reserved)
      assert.ok(known.has(text), `${ip} is still held by ${JSON.stringify(text)}`);
  }

  /** Every address with a file, and the file's contents, bypassing the code under test. */
  reserved(): Map<string, string> {
    const names = fs.readdirSync(this.dir).filter(isIp);
    return new Map(names.map((name) => [name, fs.readFileSync(join(this.dir, name), 'utf8')]));
  }

  #start(): Running {
    const process = new Process();
    return { process, ipam: HostLocal.open(this.dir, SETS, process.files) };
  }
}

function folder(t: TestContext): () => string {
  const root = fs.mkdtempSync(join(tmpdir(), 'flatnet-host-local-'));
  t.after(() => fs.rmSync(root, { recursive: true }));
  return () => fs.mkdtempSync(join(root, 'run-'));
}

describe('HostLocal killed between any two calls', () => {
  it('never assigns an address twice and leaks none after DEL or GC, whichever of two processes runs them', (t) => {
    const fresh = folder(t);
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40, size: 'max' }), (steps) => {
        const runtime = new Runtime(fresh());
        for (const step of steps) {
          runtime.run(step);
          runtime.check();
        }
        const ipam = HostLocal.open(runtime.dir, SETS);
        for (const owner of runtime.doubtful) ipam.release(owner);
        const kept = [...runtime.live.values()].flat().sort();
        assert.deepEqual(
          [...runtime.reserved().keys()].sort(),
          kept,
          'DEL removes everything of an interrupted ADD',
        );
        assert.deepEqual(ipam.gc([...runtime.live.keys()]), []);
        assert.equal(ipam.gc([]).length, kept.length);
        assert.equal(runtime.reserved().size, 0);
      }),
      { numRuns: 150 },
    );
  });

  it('recovers from being killed in each single call of ADD, DEL and GC', (t) => {
    const fresh = folder(t);
    const rest = { owner: 0, by: 0 } as const;
    let kills = 0;
    for (const verb of ['add', 'del', 'gc'] as const) {
      for (const halfway of [false, true]) {
        for (let killIn = 0; ; killIn++) {
          const runtime = new Runtime(fresh());
          runtime.run({ verb: 'add', owner: 1, by: 0, halfway });
          if (verb !== 'add') runtime.run({ verb: 'add', ...rest, halfway });
          if (verb === 'gc') runtime.live.delete(OWNERS[0] as Owner);
          if (verb === 'gc') runtime.doubtful.add(OWNERS[0] as Owner);
          const process = runtime.run({ verb, ...rest, killIn, halfway });
          runtime.check();
          if (!process.killed) break;
          kills++;
          runtime.run({ verb: 'del', ...rest, halfway });
          runtime.check();
          assert.equal(runtime.reserved().size, 2, 'only the other pod is left');
          runtime.run({ verb: 'add', ...rest, halfway });
          assert.equal(runtime.live.size, 2);
        }
      }
    }
    t.diagnostic(`killed in ${kills} calls`);
    assert.ok(kills > 40);
  });
});

import { readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { codeOf } from '../../error.ts';
import { namesIn, readIfThere } from '../../if-there.ts';
import { argvOf, identify, type ProcessId } from '../../linux/process.ts';

/** The files by which an agent and its forwarder know each other. */
export class UdpFiles {
  readonly folder: string;
  /** What the forwarder is to do; it reads them when told. */
  readonly settings: string;
  /** Written by a forwarder once it carries packets: its pid and its version. */
  readonly running: string;
  /** Written about once a second while packets pass: JSON. */
  readonly counters: string;
  readonly log: string;

  constructor(folder: string) {
    this.folder = folder;
    this.settings = join(folder, 'settings');
    this.running = join(folder, 'running');
    this.counters = join(folder, 'counters.json');
    this.log = join(folder, 'forwarder.log');
  }

  /** The socket, of datagrams, at which the forwarder with that pid takes orders. */
  orders(pid: number): string {
    return join(this.folder, `orders.${pid}`);
  }

  /**
   * The process that carries packets; undefined for none. The command line tells it from a later one of that
   * pid.
   */
  process(): Running | undefined {
    const [pid = '', version = ''] = (readIfThere(this.running) ?? '').trim().split(' ');
    const id = /^\d+$/.test(pid) ? identify(Number(pid)) : undefined;
    return id && this.#isForwarder(id.pid) ? { id, version, isHere: isHere(id.pid) } : undefined;
  }

  /** All processes that take orders in the folder: more than one while one relieves another. */
  all(): readonly ProcessId[] {
    return namesIn(this.folder).flatMap((name) => {
      const pid = Number(/^orders\.(\d+)$/.exec(name)?.[1] ?? Number.NaN);
      const id = Number.isNaN(pid) ? undefined : identify(pid);
      return id && this.#isForwarder(pid) ? [id] : [];
    });
  }

  /** Pids are reused; the command line tells. */
  #isForwarder(pid: number): boolean {
    const argv = argvOf(pid);
    return argv.includes(this.folder) && argv.some((word) => /(^|\/)(flatnet-udp|udp-forwarder)$/.test(word));
  }

  readCounters(): Readonly<Record<string, number>> {
    try {
      return { ...JSON.parse(readIfThere(this.counters) ?? '{}') };
    } catch {
      return {}; // written by another version
    }
  }
}

export type Running = {
  readonly id: ProcessId;
  readonly version: string;
  /** Whether in this network namespace, not one that the node had before. */
  readonly isHere: boolean;
};

function isHere(pid: number): boolean {
  try {
    return readlinkSync(`/proc/${pid}/ns/net`) === readlinkSync('/proc/self/ns/net');
  } catch (error) {
    if (['ENOENT', 'EACCES'].includes(codeOf(error) ?? '')) return false;
    throw error;
  }
}

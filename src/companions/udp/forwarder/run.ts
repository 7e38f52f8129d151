import { readFileSync } from 'node:fs';
import { messageOf } from '../../../error.ts';
import { isAlive } from '../../../linux/process.ts';
import * as sys from '../../../linux/sys.ts';
import { replaceFile } from '../../../replace-file.ts';
import { UdpFiles } from '../files.ts';
import { Orders } from '../orders.ts';
import { parseSettings, type UdpSettings } from '../settings.ts';
import { Forwarder, type Held } from './forwarder.ts';

/** Milliseconds without work before orders and counters are looked at anyway. */
const IDLE = 1000;
/** Milliseconds; until it answers, the other one carries on. */
const ANSWERED_WITHIN = 5000;
/** Turns with work between two looks at orders. */
const BUSY_TURNS = 8;

/**
 * Carries packets until told to stop. Nothing here waits for Node's event loop: the process does nothing
 * else. `version` tells the agent whether it is its own.
 */
export function runForwarder(folder: string, version: string): void {
  const files = new UdpFiles(folder);
  using orders = new Orders(files.orders(process.pid));
  using forwarder = new Forwarder(readSettings(files), takeOver(files, orders));
  replaceFile(files.running, `${process.pid} ${version}\n`, { mode: 0o600 });
  let told = '';
  let toldAt = 0;
  let pollTable = sys.pollTable([orders.fd, ...forwarder.descriptors]);
  for (let turns = 0; ; turns++) {
    const isBusy = forwarder.turn();
    if (isBusy && turns % BUSY_TURNS !== 0) continue;
    for (let order = orders.take(); order !== undefined; order = orders.take()) {
      if (order === 'yield') handOver(orders, forwarder.held);
      if (order === 'yield' || order === 'stop') return;
      // Anything else is an answer that came too late.
      if (order === 'change') forwarder.change(readSettings(files));
    }
    if (performance.now() - toldAt >= IDLE) {
      toldAt = performance.now();
      const text = JSON.stringify(forwarder.counters);
      if (text !== told) tell(files, text);
      told = text;
    }
    if (isBusy) continue;
    pollTable = pollTableOf([orders.fd, ...forwarder.descriptors], pollTable);
    sys.pollHere(pollTable, pollTable.length / 8, IDLE);
  }
}

/** In the text that goes with the descriptors, a letter stands for each. */
const LETTERS = { tun: 't', 4: '4', 6: '6' } as const;

/**
 * Takes the device and the sockets of the forwarder that runs, if any, which ends then: what waits in them is
 * not lost.
 */
function takeOver(files: UdpFiles, orders: Orders): Held {
  const former = files.process();
  if (!former?.isHere || former.id.pid === process.pid) return {};
  try {
    const { id } = former;
    const given = orders.ask(files.orders(id.pid), 'yield', ANSWERED_WITHIN, () => isAlive(id));
    const { text = '', fds = [] } = given ?? {};
    const held = (name: keyof Held): number | undefined => fds[text.indexOf(LETTERS[name])];
    return { tun: held('tun'), 4: held(4), 6: held(6) };
  } catch (error) {
    console.error(`the former forwarder gives nothing: ${messageOf(error)}`);
    return {};
  }
}

function handOver(orders: Orders, held: Held): void {
  const names = (['tun', 4, 6] as const).filter((name) => held[name] !== undefined);
  try {
    orders.answer({
      text: names.map((name) => LETTERS[name]).join(''),
      fds: names.flatMap((name) => held[name] ?? []),
    });
  } catch (error) {
    console.error(`the next forwarder gets nothing: ${messageOf(error)}`);
  }
}

function readSettings(files: UdpFiles): UdpSettings {
  return parseSettings(readFileSync(files.settings, 'utf8'));
}

/** A full disk must not keep packets from passing. */
function tell(files: UdpFiles, text: string): void {
  try {
    replaceFile(files.counters, text, { mode: 0o600 });
  } catch (error) {
    console.error(messageOf(error));
  }
}

/** The former table if it is of the same descriptors. */
function pollTableOf(fds: readonly number[], former: Buffer): Buffer {
  const isSame = former.length === 8 * fds.length && fds.every((fd, i) => former.readInt32LE(8 * i) === fd);
  return isSame ? former : sys.pollTable(fds);
}

import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import type { Flow } from './probe.ts';

/**
 * One end of a probe, run in a pod's namespace: answers the other ends, and sends to each of the given
 * addresses every millisecond. Writes `ready`; sends after one line of input and until the next; then writes
 * what became of its packets as JSON.
 */

const PORT = 20_777;
/** Milliseconds between two packets to one address; a thousand a second would keep an emulator busy. */
const INTERVAL = process.env.FLATNET_EMULATED ? 20 : 1;
/** Milliseconds after which a packet without an answer is lost. */
const PATIENCE = 3000;
/** Of a socket, in bytes; by default the kernel allows no more than 212 992. */
const BUFFER = 200_000;
/** Packets under way to one address. More might not fit into the buffer while its owner has to wait. */
const WINDOW = 30;
/** Packets to one address that make up for late timers, at once. */
const BURST = 20;
const REQUEST = 0;
const ANSWER = 1;

type Target = Flow & { readonly to: string; readonly index: number; readonly pending: Map<number, number> };

const targets = process.argv
  .slice(2)
  .map((to, index): Target => ({ to, index, sent: 0, lost: [], pending: new Map() }));
const sockets = {
  4: createSocket({ type: 'udp4', recvBufferSize: BUFFER }),
  6: createSocket({ type: 'udp6', recvBufferSize: BUFFER, ipv6Only: true }),
};

function send(target: Target): void {
  const now = performance.now();
  if (target.pending.size >= WINDOW) giveUp(target, now);
  if (target.pending.size >= WINDOW) return;
  const packet = Buffer.alloc(8);
  packet.writeUInt8(REQUEST);
  packet.writeUInt8(target.index, 1);
  packet.writeUInt32LE(target.sent, 4);
  target.pending.set(target.sent++, now);
  // A refusal, such as ENETUNREACH, is a loss like any other.
  sockets[target.to.includes(':') ? 6 : 4].send(packet, PORT, target.to, () => {});
}

function giveUp({ pending, lost }: Target, now: number): void {
  for (const [sequence, at] of pending) {
    if (now - at < PATIENCE) break;
    pending.delete(sequence);
    lost.push({ sequence, at: new Date(performance.timeOrigin + at).toISOString() });
  }
}

async function listen(socket: Socket): Promise<void> {
  socket.on('message', (packet, { address, port }) => {
    if (packet.readUInt8() === REQUEST) {
      packet.writeUInt8(ANSWER);
      socket.send(packet, port, address, () => {});
    } else targets[packet.readUInt8(1)]?.pending.delete(packet.readUInt32LE(4));
  });
  socket.bind(PORT);
  await once(socket, 'listening');
}

for (const socket of Object.values(sockets)) await listen(socket);
const input = createInterface({ input: process.stdin });
console.log('ready');
await once(input, 'line');
const begin = performance.now();
let ticks = 0;
// On a busy machine, timers are late.
const timer = setInterval(() => {
  const due = Math.floor((performance.now() - begin) / INTERVAL) - ticks;
  for (let i = 0; i < Math.min(due, BURST); i++) targets.forEach(send);
  ticks += due;
}, INTERVAL);
await once(input, 'line');
clearInterval(timer);
const isOpen = (): boolean => targets.some(({ pending }) => pending.size > 0);
while (isOpen()) {
  await new Promise((resolve) => setTimeout(resolve, 50));
  for (const target of targets) giveUp(target, performance.now());
}
console.log(JSON.stringify(targets.map(({ to, sent, lost }) => ({ to, sent, lost }))));

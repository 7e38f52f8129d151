import { familyOf, parseIp } from '../../src/ip/address.ts';
import { IcmpSocket } from '../../src/linux/icmp.ts';

/**
 * Like `ping -i 0.005 ADDRESS`, which spins at such intervals and would keep a processor busy: prints a line
 * for each answer, until it is killed.
 */

/** Milliseconds. */
const INTERVAL = 5;

const to = parseIp(process.argv[2] ?? '');
const socket = IcmpSocket.open({ family: familyOf(to) });
const begin = performance.now();
let sent = 0;

function tick(): void {
  for (let message = socket.receive(); message; message = socket.receive()) {
    if (message.type === 'reply' && message.id === socket.id) console.log(`icmp_seq=${message.sequence}`);
  }
  // On a busy machine, timers are late: some packets make up for that.
  for (let due = (performance.now() - begin) / INTERVAL, i = 0; sent < due && i < 10; i++) send();
}

function send(): void {
  sent++;
  try {
    socket.send(to);
  } catch {
    // Without a route, the packet is lost.
  }
}

setInterval(tick, INTERVAL);

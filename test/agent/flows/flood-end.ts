import { createSocket } from 'node:dgram';

/*
 * Run inside a network namespace.
 *
 *   flood-end.ts hear PORT: writes when it hears something, and answers
 *   flood-end.ts send ADDRESS PORT: sends every 2 ms
 */

const [verb, ...args] = process.argv.slice(2);
const socket = createSocket({ type: 'udp4' });
// Nobody may be listening.
socket.on('error', () => {});
if (verb === 'hear') {
  let last = 0;
  socket.on('message', (_, { address, port }) => {
    socket.send('y', port, address, () => {});
    const now = Date.now();
    if (now - last < 10) return;
    last = now;
    process.stdout.write(`heard ${now}\n`);
  });
  socket.bind(Number(args[0]), () => process.stdout.write('ready\n'));
} else {
  const [to, port] = args;
  socket.bind(0, () => setInterval(() => socket.send('x', Number(port), to, () => {}), 2));
}

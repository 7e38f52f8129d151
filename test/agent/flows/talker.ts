import { createSocket } from 'node:dgram';
import { connect, createServer, type Socket } from 'node:net';

/*
 * One end of a conversation, run inside a network namespace: says something every 20 ms, without being asked.
 * Writes a line for whatever it hears, and why it ended.
 *
 *   talker.ts serve tcp|udp ADDRESS PORT   speaks to whoever has spoken to it
 *   talker.ts talk tcp|udp ADDRESS PORT
 */

const [verb, protocol, host = '', port = ''] = process.argv.slice(2);
const write = (text: string): void => void process.stdout.write(`${text}\n`);
/** Milliseconds; more would keep an emulated machine busy. */
const INTERVAL = process.env.FLATNET_EMULATED ? 200 : 20;
const often = (say: () => void): NodeJS.Timeout => setInterval(say, INTERVAL);

function converse(socket: Socket): void {
  const timer = often(() => socket.write('x'));
  socket.setNoDelay();
  socket.on('data', (data) => write('heard '.repeat(data.length)));
  socket.on('error', ({ message }) => write(`ended ${message}`));
  socket.on('close', () => clearInterval(timer));
}

if (protocol === 'tcp' && verb === 'talk') converse(connect(Number(port), host));
else if (protocol === 'tcp') createServer(converse).listen(Number(port), host, () => write('serving'));
else {
  const socket = createSocket(host.includes(':') ? 'udp6' : 'udp4');
  let [to, at] = verb === 'talk' ? [Number(port), host] : [0, ''];
  socket.on('message', (_, from) => {
    [to, at] = [from.port, from.address];
    write('heard');
  });
  socket.on('error', ({ message }) => write(`ended ${message}`));
  if (verb === 'serve') socket.bind(Number(port), host, () => write('serving'));
  often(() => to && socket.send('x', to, at));
}

import { createSocket } from 'node:dgram';
import { connect, createServer } from 'node:net';

/*
 * A server or a client, run inside a network namespace.
 *
 *   talker.ts serve LABEL PORT [HOST]: answers TCP and UDP with its label and the client's address
 *   talker.ts ask '[["tcp", ADDRESS, PORT], ["udp", ADDRESS, PORT, OWN_PORT, OWN_ADDRESS], …]': prints the
 *     answers
 */

type Question = readonly [
  protocol: 'tcp' | 'udp',
  address: string,
  port: number,
  ownPort?: number,
  ownAddress?: string,
];

/** Milliseconds. */
const PATIENCE = process.env.FLATNET_EMULATED ? 5000 : 700;

const plain = (address = ''): string => address.replace(/^::ffff:/, '');

function serve(label: string, port: number, host = '::'): void {
  const udp = createSocket(host.includes(':') ? 'udp6' : 'udp4');
  udp.on('message', (_, { address, port: to }) => udp.send(`${label} ${plain(address)}`, to, address));
  udp.bind(port, host, () => {
    createServer((socket) => {
      socket.on('error', () => socket.destroy());
      socket.on('data', () => socket.write(`${label} ${plain(socket.remoteAddress)}\n`));
    }).listen(port, host, () => console.log('serving'));
  });
}

async function ask([protocol, address, port, ownPort = 0, localAddress]: Question): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const late = setTimeout(() => resolve('no answer'), PATIENCE);
  const host = { port, host: address, ...(localAddress !== undefined && { localAddress }) };
  const tcp = protocol === 'tcp' ? connect({ ...host, localPort: ownPort }) : undefined;
  tcp?.on('error', reject).on('data', (answer) => resolve(`${answer}`.trim()));
  tcp?.on('connect', () => tcp.write('?'));
  const udp = protocol === 'udp' ? createSocket(address.includes(':') ? 'udp6' : 'udp4') : undefined;
  udp?.on('error', reject).on('message', (answer) => resolve(`${answer}`));
  // Without a connection, ICMP errors would go unnoticed.
  udp?.bind(ownPort, localAddress, () => udp.connect(port, address, () => udp.send('?')));
  try {
    return await promise;
  } catch (error) {
    return /E[A-Z]{3,}/.exec(`${error}`)?.[0] ?? `${error}`;
  } finally {
    clearTimeout(late);
    tcp?.destroy();
    udp?.close();
  }
}

const [verb, ...args] = process.argv.slice(2);
if (verb === 'serve') serve(args[0] ?? '', Number(args[1]), args[2]);
else console.log(JSON.stringify(await Promise.all((JSON.parse(args[0] ?? '[]') as Question[]).map(ask))));

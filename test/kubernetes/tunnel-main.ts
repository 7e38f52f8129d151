// Usage: tunnel-main.ts PORT SOCKET. Passes connections to 127.0.0.1:PORT on to a unix socket, which can be
// reached from every network namespace.
import net from 'node:net';

const [port, path = ''] = process.argv.slice(2);
const server = net.createServer((client) => {
  const far = net.connect(path);
  client.pipe(far).pipe(client);
  for (const [from, to] of [
    [client, far],
    [far, client],
  ] as const) {
    from.on('error', () => {});
    from.on('close', () => to.destroy());
  }
});
server.listen(Number(port), '127.0.0.1', () => process.stdout.write('ready\n'));

// Bounces bytes over one TCP connection with blocking calls, in the namespace it is started in:
//   node bench/lib/echo.ts serve
//   node bench/lib/echo.ts ADDRESS COUNT     prints the median round trip in microseconds
import { spawn } from 'node:child_process';
import { createServer, type Socket } from 'node:net';
import { parseIp } from '../../src/ip/address.ts';
import { AF_INET } from '../../src/linux/netlink/family.ts';
import { sockaddr } from '../../src/linux/sockaddr.ts';
import * as sys from '../../src/linux/sys.ts';
import { median } from './report.ts';

const SOCK_STREAM = 1;
const IPPROTO_TCP = 6;
const TCP_NODELAY = 1;
const PORT = 7008;
const WARM_UP = 2000;
const [address = '', count = '20000'] = process.argv.slice(2);

if (address === 'serve')
  createServer({ pauseOnConnect: true }, answer).listen(PORT, () => console.log('serving'));
else console.log(median(measure(Number(count))).toFixed(2));

/** By a process of its own, as Node would read and write through its event loop. */
function answer(socket: Socket): void {
  socket.setNoDelay();
  spawn('cat', { stdio: [socket, socket, 'inherit'] });
  socket.destroy();
}

function measure(rounds: number): number[] {
  const fd = sys.socket(AF_INET, SOCK_STREAM | sys.SOCK_CLOEXEC, 0);
  sys.connect(fd, sockaddr(parseIp(address), PORT));
  sys.setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  const data = Buffer.alloc(64);
  const times: number[] = [];
  for (let i = -WARM_UP; i < rounds; i++) {
    const start = process.hrtime.bigint();
    sys.writeOr(fd, data, data.length);
    if (sys.readOr(fd, data, data.length) !== data.length) throw new Error(`no reply from ${address}`);
    if (i >= 0) times.push(Number(process.hrtime.bigint() - start) / 1000);
  }
  return times;
}

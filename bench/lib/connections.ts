// Opens TCP connections one after another, with blocking calls, in the namespace it is started in; each is
// closed by the server as soon as that has it:
//   node bench/lib/connections.ts serve
//   node bench/lib/connections.ts ADDRESS COUNT     prints how many a second there are at the median
import { closeSync } from 'node:fs';
import { createServer } from 'node:net';
import { parseIp } from '../../src/ip/address.ts';
import { AF_INET } from '../../src/linux/netlink/family.ts';
import { sockaddr } from '../../src/linux/sockaddr.ts';
import * as sys from '../../src/linux/sys.ts';
import { median } from './report.ts';

const SOCK_STREAM = 1;
const PORT = 7007;
const WARM_UP = 300;
const [address = '', count = '1000'] = process.argv.slice(2);

if (address === 'serve') {
  createServer((socket) => socket.destroy()).listen(PORT, () => console.log('serving'));
} else {
  console.log(rate(Number(count)).toFixed(0));
}

function rate(connections: number): number {
  const peer = sockaddr(parseIp(address), PORT);
  const times: number[] = [];
  for (let i = -WARM_UP; i < connections; i++) {
    const start = process.hrtime.bigint();
    open(peer);
    if (i >= 0) times.push(Number(process.hrtime.bigint() - start));
  }
  return 1e9 / median(times);
}

/** Returns once the other end has closed it. */
function open(peer: Uint8Array): void {
  const fd = sys.socket(AF_INET, SOCK_STREAM | sys.SOCK_CLOEXEC, 0);
  try {
    sys.connect(fd, peer);
    sys.recvfrom(fd, Buffer.alloc(1), 0);
  } finally {
    closeSync(fd);
  }
}

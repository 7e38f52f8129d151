// Bounces one UDP datagram back and forth with blocking calls, in the namespace it is started in:
//   node bench/lib/pingpong.ts serve
//   node bench/lib/pingpong.ts ADDRESS COUNT     prints the median round trip in microseconds
//   node bench/lib/pingpong.ts ADDRESS COUNT new the same, each from a port of its own: a new connection
import { closeSync } from 'node:fs';
import { parseIp } from '../../src/ip/address.ts';
import { AF_INET } from '../../src/linux/netlink/family.ts';
import { sockaddr } from '../../src/linux/sockaddr.ts';
import * as sys from '../../src/linux/sys.ts';
import { median } from './report.ts';

const SOCK_DGRAM = 2;
const SO_RCVTIMEO = 20;
const PORT = 7007;
const WARM_UP = 2000;
const [address = '', count = '20000', what] = process.argv.slice(2);

let fd = open();
const data = Buffer.alloc(64);
if (address === 'serve') serve();
else console.log(median(measure(Number(count))).toFixed(2));

function open(): number {
  const socket = sys.socket(AF_INET, SOCK_DGRAM | sys.SOCK_CLOEXEC, 0);
  const second = new BigInt64Array([1n, 0n]);
  if (address !== 'serve') sys.setsockopt(socket, sys.SOL_SOCKET, SO_RCVTIMEO, new Uint8Array(second.buffer));
  return socket;
}

function serve(): never {
  sys.bind(fd, sockaddr(parseIp('0.0.0.0'), PORT));
  console.log('serving');
  const peer = Buffer.alloc(16);
  for (;;) {
    const size = sys.recvfrom(fd, data, 0, peer);
    if (size !== undefined) sys.sendto(fd, data.subarray(0, size), 0, peer);
  }
}

function measure(rounds: number): number[] {
  const peer = sockaddr(parseIp(address), PORT);
  const times: number[] = [];
  for (let i = -WARM_UP; i < rounds; i++) {
    if (what === 'new') {
      closeSync(fd);
      fd = open();
    }
    const start = process.hrtime.bigint();
    sys.sendto(fd, data, 0, peer);
    if (sys.recvfrom(fd, data, 0) === undefined) throw new Error(`no reply from ${address}`);
    if (i >= 0) times.push(Number(process.hrtime.bigint() - start) / 1000);
  }
  return times;
}

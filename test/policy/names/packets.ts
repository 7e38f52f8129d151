import { type Ip, ipToBytes } from '../../../src/ip/address.ts';

/** An IP packet with a UDP datagram from port 53 to port 4053, without checksums. */
export function datagram({ from, to, payload }: { from: Ip; to: Ip; payload: Uint8Array }): Buffer {
  const [source, destination] = [ipToBytes(from), ipToBytes(to)];
  const isIpv4 = source.length === 4;
  const header = Buffer.alloc(isIpv4 ? 20 : 40);
  const length = 8 + payload.length;
  if (isIpv4) {
    header[0] = 0x45;
    header.writeUInt16BE(20 + length, 2);
    header.set([64, 17], 8);
  } else {
    header[0] = 0x60;
    header.writeUInt16BE(length, 4);
    header.set([17, 64], 6);
  }
  header.set([...source, ...destination], isIpv4 ? 12 : 8);
  const udp = Buffer.alloc(8);
  for (const [i, value] of [53, 4053, length, 0].entries()) udp.writeUInt16BE(value, 2 * i);
  return Buffer.concat([header, udp, payload]);
}

import type { Machine } from './machine.ts';

/** Duration in seconds, after a warm-up of one. */
const SECONDS = 2;
/** iperf3's own. */
const PORT = 5201;

/** Gb/s of one TCP stream from a namespace to an iperf3 server. */
export async function tcpStream(
  machine: Machine,
  { from, address, port = PORT }: { readonly from: string; readonly address: string; readonly port?: number },
): Promise<number> {
  const client = ['iperf3', '--client', address, '--port', `${port}`];
  const command = [...client, '--omit', '1', '--time', `${SECONDS}`, '--json'];
  const { end } = JSON.parse(await machine.output(command, from));
  return Number(end.sum_received.bits_per_second) / 1e9;
}

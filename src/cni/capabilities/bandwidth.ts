import type { Bandwidth, Rate } from '../../cluster/bandwidth.ts';
import type { Fields } from '../../cluster/fields.ts';

/**
 * What runtimes send if nobody chose a burst: containerd 2³²−1, CRI-O eight times that less one. Half a
 * gigabyte would pass before the limit applied, so it counts as absent.
 */
const NO_BURST = 0xffffffff;
/** The least default burst, in bytes: one full segmentation-offload packet. */
const LEAST_BURST = 65_536;
/** The default burst, in seconds at the rate. */
const BURST_TIME = 0.01;
/** The kernel stores a burst as its duration at the rate, in 32 bits of nanoseconds. */
const LONGEST_BURST = 4;

/**
 * Returns the bandwidth that a call asks for: `runtimeConfig.bandwidth`, in bits and bits per second, as from
 * the annotations `kubernetes.io/ingress-bandwidth` and `egress-bandwidth`. A burst without a rate limits
 * nothing. Throws CONFIG_INVALID naming the field.
 */
export function readBandwidth(conf: Fields): Bandwidth | undefined {
  const fields = conf.object('runtimeConfig')?.object('bandwidth');
  if (!fields) return undefined;
  const ingress = readRate(fields, 'ingress');
  const egress = readRate(fields, 'egress');
  if (!ingress && !egress) return undefined;
  return { ...(ingress && { ingress }), ...(egress && { egress }) };
}

function readRate(fields: Fields, direction: 'ingress' | 'egress'): Rate | undefined {
  const max = Number.MAX_SAFE_INTEGER;
  const bits = fields.integer(`${direction}Rate`, 0, max) ?? 0;
  const burst = fields.integer(`${direction}Burst`, 0, max) ?? 0;
  if (bits === 0) return undefined;
  if (bits < 8) throw fields.invalid(`${direction}Rate`, 'must be at least 8 bits per second');
  const rate = Math.floor(bits / 8);
  const wanted = burst > 0 && burst < NO_BURST ? Math.ceil(burst / 8) : defaultBurst(rate);
  return { rate, burst: Math.max(1, Math.min(wanted, LONGEST_BURST * rate)) };
}

function defaultBurst(rate: number): number {
  return Math.max(LEAST_BURST, Math.round(rate * BURST_TIME));
}

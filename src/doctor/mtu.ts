import { configuredBackend } from '../backends/registry.ts';
import { type Finding, note, ok, wrong } from './finding.ts';
import { type Patient, rememberedFacts } from './patient.ts';

/** The underlay, and what it leaves for pods. */
export function mtuFindings(patient: Patient): Finding[] {
  const { underlay, stranded, status, view } = patient;
  if (!underlay) {
    const fix = 'give an interface an address, or name it: iface in the agent’s configuration';
    return [wrong('mtu', 'no interface leads to other nodes', { cause: stranded, fix })];
  }
  const { dev, mtu, pathMtu } = underlay;
  const pods = status && status.mtu > 0 ? status.mtu : rememberedFacts(patient)?.mtu;
  if (pods === undefined) return [note('mtu', `${dev} has ${mtu} bytes; the network is not known`)];
  const configured = view && configuredBackend(view.network, view.resources);
  const named = configured?.backend.underlayMtu?.(configured.options);
  if (named !== undefined && named > mtu) {
    return [
      wrong('mtu', `Backend.MTU is ${named}, and ${dev} has ${mtu} bytes: large packets are cut or lost`, {
        fix: `set Backend.MTU to ${mtu}, or raise the MTU of ${dev}`,
      }),
    ];
  }
  const path = pathMtu === undefined ? '' : `, to peers ${pathMtu}`;
  return [ok('mtu', `${dev} has ${mtu} bytes${path}, pods have ${pods}`)];
}

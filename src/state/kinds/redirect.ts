import { type Redirect, redirectAdd, redirectDelete, redirectDump } from '../../linux/filter.ts';
import { equal, isOf } from '../kind.ts';
import { OUR_ALIAS } from '../ownership.ts';
import { contradictedKey, itemsOf, type NameOf, type RtnetlinkKind } from '../protocols/rtnetlink.ts';

/** Sends everything that a device receives through another one first. Needs its ingress discipline. */
export type RedirectItem = { readonly kind: 'redirect'; readonly dev: string; readonly to: string };

/** The priority of our filters: any other filter is somebody else's. */
const PRIORITY = 0xf1a7;

export const redirect: RtnetlinkKind<RedirectItem> = {
  kind: 'redirect',
  executor: 'rtnetlink',
  key: ({ dev }) => `redirect ${dev}`,
  device: ({ dev }) => dev,
  dependsOn: ({ to }) => [to],
  // After the queue of the other device, which limits what passes.
  stage: () => 'filters',
  isOurs: () => true,
  same: equal,

  dumps: ({ desired, devices, nameOf }) => {
    const wanted = [...desired.values()].flatMap((item) => (isOf(redirect, item) ? [item.dev] : []));
    // Also of what is no longer wanted: without its target, the kernel drops what the device receives.
    const present = [...devices.values()].flatMap(({ link, alias }) =>
      link.type === 'ifb' && alias?.startsWith(`${OUR_ALIAS} `) ? [alias.slice(OUR_ALIAS.length + 1)] : [],
    );
    return [...new Set([...wanted, ...present])].flatMap((dev) => {
      const index = devices.get(dev)?.index;
      return index === undefined ? [] : [itemsOf(redirectDump(index), (value) => itemOf(value, nameOf))];
    });
  },
  requests: ({ action, item: { dev, to } }, index) => {
    const at = { dev: index(dev), priority: PRIORITY };
    if (action === 'delete') return [redirectDelete(at)];
    const add = redirectAdd({ ...at, to: index(to) });
    return action === 'add' ? [add] : [redirectDelete(at), add];
  },
  isBenign: ({ action }, { errno }) => action === 'delete' && errno === 'EINVAL',
  contradiction: (event, { desired, nameOf }) => {
    if (event.object === 'filter') {
      const key = `redirect ${nameOf(event.value.dev)}`;
      return [0, PRIORITY].includes(event.value.priority) && desired.has(key) ? key : undefined;
    }
    if (event.object !== 'redirect') return undefined;
    const item = itemOf(event.value, nameOf);
    return item && contradictedKey(redirect, item, false, desired);
  },

  command: ({ dev, to }, action) =>
    action === 'add'
      ? `tc filter replace dev ${dev} parent ffff: prio ${PRIORITY} u32 match u32 0 0 action mirred egress redirect dev ${to}`
      : `tc filter del dev ${dev} parent ffff: prio ${PRIORITY}`,
};

function itemOf({ dev, priority, to }: Redirect, nameOf: NameOf): RedirectItem | undefined {
  const [name, target] = [nameOf(dev), nameOf(to)];
  if (name === undefined || priority !== PRIORITY) return undefined;
  // If the target is gone, as after the loss of that device, the filter has to be recreated.
  return { kind: 'redirect', dev: name, to: target ?? '' };
}

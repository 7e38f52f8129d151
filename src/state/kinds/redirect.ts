import { type Redirect, redirectAdd, redirectDelete, redirectDump } from '../../linux/filter.ts';
import { equal, isOf } from '../kind.ts';
import { contradictedKey, itemsOf, type NameOf, type RtnetlinkKind } from '../protocols/rtnetlink.ts';

/** Sends everything that a device receives through another one first. Needs its ingress discipline. */
export type RedirectItem = { readonly kind: 'redirect'; readonly dev: string; readonly to: string };

/** Of our filters: any other is somebody else's. */
const PRIORITY = 0xf1a7;

export const redirect: RtnetlinkKind<RedirectItem> = {
  kind: 'redirect',
  executor: 'rtnetlink',
  key: ({ dev }) => `redirect ${dev}`,
  device: ({ dev }) => dev,
  dependsOn: ({ to }) => [to],
  // Not before the queue there limits what passes.
  stage: () => 'filters',
  isOurs: () => true,
  same: equal,

  dumps: ({ desired, devices, nameOf }) =>
    [...desired.values()].flatMap((item) => {
      const index = isOf(redirect, item) ? devices.get(item.dev)?.index : undefined;
      return index === undefined ? [] : [itemsOf(redirectDump(index), (value) => itemOf(value, nameOf))];
    }),
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
  // Without a target, as after the loss of that device, it has to be made anew.
  return { kind: 'redirect', dev: name, to: target ?? '' };
}

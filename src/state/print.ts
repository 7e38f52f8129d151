import { familyOf } from '../ip/address.ts';
import { type Change, isFallback } from './diff.ts';
import type {
  IpipLink,
  Item,
  LinkItem,
  MadeLink,
  NftTableItem,
  RouteItem,
  RuleItem,
  VxlanLink,
} from './item.ts';
import { defaultMetric, MAIN_TABLE, metricOf, tableOf } from './key.ts';
import { OUR_PROTOCOL } from './ownership.ts';

/** The command a person would type to make a change. Nothing in flatnet runs it. */
export function changeCommand({ action, item, was }: Change): string {
  if (action === 'change' && item.kind === 'link' && was?.kind === 'link') return linkSetCommand(item, was);
  if (action === 'recreate') return `${command(item, 'delete')} && ${command(item, 'add')}`;
  return command(item, action === 'delete' ? 'delete' : 'add');
}

/** The command a person would type to have an item, whatever is there now, or to delete it. */
export function command(item: Item, action: 'add' | 'delete'): string {
  const add = action === 'add';
  switch (item.kind) {
    case 'link':
      if (add) return linkCommand(item);
      return isFallback(item.link) ? `ip link set ${item.name} alias '' down` : `ip link del ${item.name}`;
    case 'address': {
      const nodad = add && familyOf(item.address) === 6 ? ' nodad' : '';
      return `ip address ${add ? 'replace' : 'del'} ${item.address} dev ${item.dev}${nodad}`;
    }
    case 'route':
      return `ip route ${add ? 'replace' : 'del'} ${routeText(item)}`;
    case 'neighbour':
      return add
        ? `ip neigh replace ${item.ip} lladdr ${item.mac} nud permanent dev ${item.dev}`
        : `ip neigh del ${item.ip} dev ${item.dev}`;
    case 'fdb':
      return add
        ? `bridge fdb replace ${item.mac} dst ${item.dst} self permanent dev ${item.dev}`
        : `bridge fdb del ${item.mac} dst ${item.dst} self dev ${item.dev}`;
    case 'rule':
      return `ip ${item.family === 6 ? '-6 ' : ''}rule ${add ? 'add' : 'del'} ${ruleText(item)}`;
    case 'sysctl':
      return `sysctl -w ${item.path}=${item.value}`;
    case 'nft':
      return add
        ? `nft -f - <<'END'\n${tableText(item)}END`
        : `nft delete table ${item.family} ${item.table}`;
  }
}

/** The table with its sets filled, as `nft -f` takes it. */
export function tableText({ family, table, body, sets = {} }: NftTableItem): string {
  const elements = Object.entries(sets).filter(([, members]) => members.length > 0);
  return [
    `table ${family} ${table} {\n${body}\n}\n`,
    ...elements.map(([set, members]) => `add element ${family} ${table} ${set} { ${members.join(', ')} }\n`),
  ].join('');
}

/** One line for a change, of a log and of `flatnet diff`: `+` add, `~` set right, `!` delete and make anew, `-` delete, and the command. */
export function changeText(change: Change): string {
  const sign = { add: '+', change: '~', recreate: '!', delete: '-' }[change.action];
  const { item } = change;
  if (item.kind === 'nft' && change.action !== 'delete') {
    return `${sign} nft -f … # table ${item.family} ${item.table}, ${item.body.split('\n').length} lines`;
  }
  return `${sign} ${changeCommand(change)}`;
}

function linkCommand(item: LinkItem): string {
  const commands: string[] = [];
  const settings = [
    item.mtu === undefined ? '' : `mtu ${item.mtu}`,
    item.mac === undefined ? '' : `address ${item.mac}`,
    item.master === undefined ? '' : `master ${item.master}`,
  ];
  if (item.link.type === 'existing') {
    commands.push(words('ip link set', item.name, ...settings, item.up ? 'up' : 'down'));
  } else if (isFallback(item.link)) {
    const alias = item.alias === undefined ? '' : `alias '${item.alias}'`;
    commands.push(
      'modprobe ipip',
      words('ip link set', item.name, ...settings, alias, item.up ? 'up' : 'down'),
    );
  } else {
    commands.push(words('ip link add', item.name, ...settings, 'type', kindText(item.link)));
    if (item.alias !== undefined) commands.push(`ip link set ${item.name} alias '${item.alias}'`);
    if (item.up) commands.push(`ip link set ${item.name} up`);
  }
  if (item.hairpin !== undefined) commands.push(hairpinCommand(item));
  return commands.join(' && ');
}

/** Only what differs. */
function linkSetCommand(item: LinkItem, was: LinkItem): string {
  const changed = <T>(wanted: T | undefined, present: T, text: string): string =>
    wanted === undefined || wanted === present ? '' : text;
  const settings = words(
    changed(item.mtu, was.mtu, `mtu ${item.mtu}`),
    changed(item.mac, was.mac, `address ${item.mac}`),
    changed(item.alias, was.alias, `alias '${item.alias}'`),
    changed(item.master, was.master, `master ${item.master}`),
    changed(item.up, was.up, item.up ? 'up' : 'down'),
  );
  const { link } = item;
  const sameKind = link.type === 'existing' || JSON.stringify(link) === JSON.stringify(was.link);
  return [
    settings && `ip link set ${item.name} ${settings}`,
    sameKind ? '' : `ip link set ${item.name} type ${kindText(link)}`,
    changed(item.hairpin, was.hairpin, hairpinCommand(item)),
  ]
    .filter((part) => part !== '')
    .join(' && ');
}

function hairpinCommand({ name, hairpin }: LinkItem): string {
  return `ip link set ${name} type bridge_slave hairpin ${hairpin ? 'on' : 'off'}`;
}

function kindText(link: MadeLink): string {
  if (link.type === 'bridge') return 'bridge';
  return link.type === 'vxlan' ? vxlanText(link) : ipipText(link);
}

function ipipText({ local, remote }: IpipLink): string {
  return words(
    'ipip',
    local === undefined ? '' : `local ${local}`,
    remote === undefined ? '' : `remote ${remote}`,
  );
}

function vxlanText(link: VxlanLink): string {
  return words(
    `vxlan id ${link.vni} local ${link.local} dev ${link.dev} dstport ${link.port}`,
    link.learning ? 'learning' : 'nolearning',
    link.udpChecksum ? '' : 'noudpcsum',
    link.gbp ? 'gbp' : '',
    link.onDemand ? 'proxy l2miss l3miss' : '',
  );
}

/** As `ip route show` writes it; our usual protocol is left out, as every line would repeat it. */
function routeText(item: RouteItem): string {
  const blackhole = item.type === 'blackhole';
  return words(
    blackhole ? `blackhole ${item.dst}` : item.dst,
    item.via === undefined ? '' : `via ${item.via}`,
    item.dev === undefined || blackhole ? '' : `dev ${item.dev}`,
    tableOf(item) === MAIN_TABLE ? '' : `table ${tableOf(item)}`,
    item.protocol === OUR_PROTOCOL ? '' : `proto ${item.protocol}`,
    item.src === undefined ? '' : `src ${item.src}`,
    metricOf(item) === defaultMetric(item) ? '' : `metric ${metricOf(item)}`,
    item.onlink ? 'onlink' : '',
  );
}

function ruleText(item: RuleItem): string {
  return words(
    `priority ${item.priority}`,
    `from ${item.from ?? 'all'}`,
    item.to === undefined ? '' : `to ${item.to}`,
    item.iif === undefined ? '' : `iif ${item.iif}`,
    item.mark === undefined ? '' : `fwmark ${item.mark}${item.mask === undefined ? '' : `/${item.mask}`}`,
    `lookup ${item.table}`,
    item.protocol === OUR_PROTOCOL ? '' : `protocol ${item.protocol}`,
  );
}

function words(...parts: readonly string[]): string {
  return parts.filter((part) => part !== '').join(' ');
}

import { equal, words } from '../../kind.ts';
import { portCommand, wrongPortSettings } from '../../link-types/bridge-port.ts';
import { linkTypeOf } from '../../link-types/registry.ts';
import { isBuiltIn, type LinkItem } from './item.ts';

/** The commands that create or delete a device. */
export function command(item: LinkItem, action: 'add' | 'delete'): string {
  const { name, link, mtu, mac, master, up, port } = item;
  if (action === 'delete') {
    return isBuiltIn(item) ? `ip link set ${name} alias '' down` : `ip link del ${name}`;
  }
  const settings = words(
    mtu === undefined ? '' : `mtu ${mtu}`,
    mac === undefined ? '' : `address ${mac}`,
    master === undefined ? '' : `master ${master}`,
  );
  const alias = item.alias === undefined ? '' : `alias '${item.alias}'`;
  const state = up ? 'up' : 'down';
  const commands: string[] = [];
  if (link.type === 'existing') commands.push(words('ip link set', name, settings, state));
  else if (isBuiltIn(item)) {
    commands.push(`modprobe ${link.type}`, words('ip link set', name, settings, alias, state));
  } else {
    const { sharesLower, lower, text } = linkTypeOf(link);
    const on = sharesLower ? `link ${lower?.(link)}` : '';
    commands.push(words('ip link add', name, on, settings, 'type', text(link)));
    if (alias) commands.push(`ip link set ${name} ${alias}`);
    if (up) commands.push(`ip link set ${name} up`);
  }
  if (port !== undefined) commands.push(portCommand(name, port));
  return commands.join(' && ');
}

/** The commands that change a device: only the differences. */
export function changeCommand(item: LinkItem, was: LinkItem): string {
  const changed = <T>(wanted: T | undefined, present: T, text: string): string =>
    wanted === undefined || wanted === present ? '' : text;
  const settings = words(
    changed(item.mtu, was.mtu, `mtu ${item.mtu}`),
    changed(item.mac, was.mac, `address ${item.mac}`),
    changed(item.alias, was.alias, `alias '${item.alias}'`),
    changed(item.master, was.master, `master ${item.master}`),
    changed(item.up, was.up && was.renamed === undefined, item.up ? 'up' : 'down'),
  );
  const { link } = item;
  const isOther = link.type !== 'existing' && !equal(link, was.link);
  const wrong = wrongPortSettings(was.port, item.port);
  const { renamed } = was;
  return [
    renamed === undefined ? '' : `ip link set ${renamed} down && ip link set ${renamed} name ${item.name}`,
    settings && `ip link set ${item.name} ${settings}`,
    isOther ? `ip link set ${item.name} type ${linkTypeOf(link).text(link)}` : '',
    wrong === undefined ? '' : portCommand(item.name, wrong),
  ]
    .filter((part) => part !== '')
    .join(' && ');
}

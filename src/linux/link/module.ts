/** The kernel modules of kinds of interface that are not named after theirs. */
const MODULES: Readonly<Record<string, string>> = {
  gretap: 'ip_gre',
  ip6gretap: 'ip6_gre',
  ip6tnl: 'ip6_tunnel',
};

/** The kernel module that makes interfaces of a kind. */
export function moduleOf(kind: string): string {
  return MODULES[kind] ?? kind;
}

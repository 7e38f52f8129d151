import type { KubeletNode } from './node.ts';

/** What a node holds for pods that it does not have, in words. */
export async function leftovers(node: KubeletNode): Promise<readonly string[]> {
  const { pods } = await node.status();
  const addresses = new Set(pods.flatMap(({ addresses }) => addresses.map(String)));
  const devices = new Set(pods.map(({ hostDevice }) => hostDevice));
  const lines = async (...argv: readonly string[]) => (await node.exec(...argv)).split('\n').filter(Boolean);
  // With the plan `blocks` there is no such folder.
  const files = await lines(
    'find',
    '/var/lib/cni',
    '-path',
    '*/networks/*',
    '-type',
    'f',
    '-printf',
    '%f\\n',
  );
  const reserved = files.filter((name) => /^[\da-f]+[.:]/.test(name));
  const links = await lines('ip', '-o', 'link', 'show', 'type', 'veth');
  const veths = links
    .map((line) => line.split(': ')[1]?.split('@')[0] ?? '')
    .filter((name) => /^(veth|cali)/.test(name));
  const ruleset = await node.exec('nft', 'list', 'ruleset');
  const named = new Set(ruleset.match(/(veth|cali)[\da-f]{11}/g));
  return [
    ...reserved.filter((address) => !addresses.has(address)).map((address) => `address ${address}`),
    ...veths.filter((name) => !devices.has(name)).map((name) => `device ${name}`),
    ...[...named].filter((name) => !devices.has(name)).map((name) => `elements of ${name}`),
  ];
}

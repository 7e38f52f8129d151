import type { Node } from '../cluster/node.ts';
import type { Resources } from '../cluster/resources.ts';
import { isIp } from '../ip/address.ts';
import { parseCidr } from '../ip/cidr.ts';

/** Whether a value read from a file has a shape. */
type Shape = (value: unknown) => boolean;

const text: Shape = (value) => typeof value === 'string';
const number: Shape = (value) => typeof value === 'number';
const flag: Shape = (value) => typeof value === 'boolean';
const anything: Shape = () => true;
const ip: Shape = (value) => typeof value === 'string' && isIp(value);
const cidr: Shape = (value) => {
  try {
    return typeof value === 'string' && parseCidr(value) === value;
  } catch {
    return false;
  }
};
const list =
  (of: Shape): Shape =>
  (value) =>
    Array.isArray(value) && value.every(of);
const optional =
  (of: Shape): Shape =>
  (value) =>
    value === undefined || of(value);
/** An object with any names. */
const record =
  (of: Shape): Shape =>
  (value) =>
    isObject(value) && Object.values(value).every(of);
/** An object with these members, and perhaps others. */
const members = <T>(shapes: { readonly [K in keyof Required<T>]: Shape }): Shape => {
  const all = Object.entries<Shape>(shapes);
  return (value) => isObject(value) && all.every(([name, shape]) => shape(ownValue(value, name)));
};

/** Not what the prototype has, such as `constructor`. */
function ownValue(object: object, name: string): unknown {
  return Object.hasOwn(object, name) ? (object as Readonly<Record<string, unknown>>)[name] : undefined;
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

const secret = members<{ name: string; key: string }>({ name: text, key: text });
const community: Shape = (value) =>
  list(number)(value) && Array.isArray(value) && [2, 3].includes(value.length);
const range = members<{ min?: number; max?: number }>({ min: optional(number), max: optional(number) });

const filterRules = list(
  members<Resources['bgpFilters'][number]['importV4'][number]>({
    action: text,
    cidr: optional(cidr),
    matchOperator: optional(text),
    prefixLength: optional(range),
    source: optional(text),
    interface: optional(text),
  }),
);

const resources = members<Resources>({
  ipPools: list(
    members<Resources['ipPools'][number]>({
      name: text,
      cidr,
      blockSize: number,
      ipipMode: text,
      natOutgoing: flag,
      disabled: flag,
      disableBgpExport: flag,
      nodeSelector: text,
      namespaceSelector: optional(text),
      assignmentMode: text,
    }),
  ),
  ipReservations: list(members<Resources['ipReservations'][number]>({ name: text, cidrs: list(cidr) })),
  bgpConfiguration: members<Resources['bgpConfiguration']>({
    nodeToNodeMeshEnabled: flag,
    asNumber: number,
    listenPort: number,
    serviceCidrs: list(cidr),
    communities: record(community),
    prefixAdvertisements: list(
      members<Resources['bgpConfiguration']['prefixAdvertisements'][number]>({
        cidr,
        communities: list(community),
      }),
    ),
    nodeMeshPassword: optional(secret),
    nodeMeshMaxRestartTime: optional(number),
    ignoredInterfaces: list(text),
  }),
  bgpPeers: list(
    members<Resources['bgpPeers'][number]>({
      name: text,
      node: optional(text),
      nodeSelector: optional(text),
      peerIp: optional(ip),
      port: optional(number),
      asNumber: optional(number),
      peerSelector: optional(text),
      localAsNumber: optional(number),
      nextHopMode: text,
      password: optional(secret),
      sourceAddress: text,
      maxRestartTime: optional(number),
      keepaliveTime: optional(number),
      numAllowedLocalAsNumbers: optional(number),
      ttlSecurity: optional(number),
      bfd: flag,
      filters: list(text),
    }),
  ),
  bgpFilters: list(
    members<Resources['bgpFilters'][number]>({
      name: text,
      exportV4: filterRules,
      importV4: filterRules,
      exportV6: filterRules,
      importV6: filterRules,
    }),
  ),
  nodes: record(
    members<Resources['nodes'][string]>({
      name: text,
      labels: record(text),
      asNumber: optional(number),
      routeReflectorClusterId: optional(ip),
    }),
  ),
});

const node = members<Node>({
  name: text,
  labels: record(text),
  addresses: members<Node['addresses']>({ 4: optional(ip), 6: optional(ip) }),
  senders: optional(list(ip)),
  subnets: list(cidr),
  backend: members<Node['backend']>({ type: text, data: record(anything) }),
});

export function isResources(value: unknown): value is Resources {
  return resources(value);
}

export function isNode(value: unknown): value is Node {
  return node(value);
}

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { readYaml } from '../../../src/cluster/yaml.ts';
import { type Family, type Ip, parseIp } from '../../../src/ip/address.ts';
import type { PolicyFacts } from '../../../src/policy/compile/facts.ts';
import { readCluster } from '../../../src/policy/manifest.ts';
import type { Entity, PodEntity } from '../../../src/policy/model/entity.ts';
import { type Flow, protocolNamed } from '../../../src/policy/model/traffic.ts';
import { expand, type Product } from './product.ts';

type Labels = Readonly<Record<string, string>>;
type ByFamily = Readonly<Record<Family, string>>;
type Written = {
  readonly kind?: string;
  readonly name: string;
  readonly namespace?: string;
  readonly spec: object;
};

/** What changes, and which connections are allowed from then on. */
export type Step = {
  readonly policies?: readonly Written[];
  readonly labels?: Readonly<Record<string, Labels>>;
  readonly namespaceLabels?: Readonly<Record<string, Labels>>;
  readonly expect: readonly string[];
};
export type Case = { readonly name: string } & (Step | { readonly steps: readonly Step[] });

type File = {
  readonly namespaces: Readonly<Record<string, Labels>>;
  readonly pods: Readonly<Record<string, Labels>>;
  readonly ports: readonly string[];
  readonly hosts: Readonly<Record<string, ByFamily>>;
  readonly nodes?: Readonly<Record<string, { readonly labels: Labels; readonly address: ByFamily }>>;
  readonly names?: Readonly<Record<string, readonly string[]>>;
  readonly nets: Readonly<Record<string, ByFamily>>;
  readonly defaults?: { readonly kind: string; readonly spec: object };
  readonly product?: Product;
  readonly cases: readonly Case[];
};

/** A connection that a table of cases is about, and what is expected of it. */
export type Probe = {
  readonly text: string;
  readonly source: Ip;
  readonly destination: Ip;
  readonly flow: Flow;
  readonly expected: 'accept' | 'drop';
};

/** A step of a case, in a family. */
export type Situation = { readonly facts: PolicyFacts; readonly probes: readonly Probe[] };

export class Table {
  readonly cases: readonly Case[];
  readonly #file: File;

  constructor(name: string) {
    const text = readFileSync(new URL(name, import.meta.url), 'utf8');
    this.#file = readYaml(text, name, 'MANIFEST_INVALID')[0]?.value as File;
    this.cases = [...this.#file.cases, ...(this.#file.product ? expand(this.#file.product) : [])];
  }

  /** All addresses, by the names that cases have for them. */
  ends(family: Family): ReadonlyMap<string, Ip> {
    const { hosts, nodes = {} } = this.#file;
    const pods = this.#pods.map(({ key }, i) => [key, parseIp(podAddress(family, i))] as const);
    const others = [
      ...Object.entries(hosts),
      ...Object.entries(nodes).map(([key, { address }]) => [key, address] as const),
    ];
    return new Map([...pods, ...others.map(([key, address]) => [key, parseIp(address[family])] as const)]);
  }

  situations(each: Case, family: Family): readonly Situation[] {
    let policies: readonly Written[] = [];
    const labels: Record<string, Labels> = {};
    const namespaces: Record<string, Labels> = { ...this.#file.namespaces };
    return ('steps' in each ? each.steps : [each]).map((step) => {
      policies = step.policies ?? policies;
      Object.assign(labels, step.labels);
      Object.assign(namespaces, step.namespaceLabels);
      return {
        facts: this.#facts(family, policies, labels, namespaces),
        probes: this.#probes(family, step.expect),
      };
    });
  }

  get #pods(): readonly { key: string; namespace: string; name: string; labels: Labels }[] {
    const { namespaces, pods } = this.#file;
    return Object.keys(namespaces).flatMap((namespace) =>
      Object.entries(pods).map(([name, labels]) => ({
        key: `${namespace}/${name}`,
        namespace,
        name,
        labels,
      })),
    );
  }

  #facts(
    family: Family,
    policies: readonly Written[],
    labels: Readonly<Record<string, Labels>>,
    namespaces: Readonly<Record<string, Labels>>,
  ): PolicyFacts {
    const { nodes = {}, names = {}, defaults, ports } = this.#file;
    const containerPorts = ports.map((text) => {
      const [protocol = '', port = ''] = text.split(' ');
      return { name: `serve-${port}-${protocol.toLowerCase()}`, containerPort: Number(port), protocol };
    });
    const objects = [
      ...Object.entries(namespaces).map(([name, own]) => ({
        kind: 'Namespace',
        metadata: { name, labels: own },
      })),
      ...Object.entries(nodes).map(([name, node]) => ({
        kind: 'Node',
        metadata: { name, labels: node.labels },
        status: { addresses: [{ type: 'InternalIP', address: node.address[family] }] },
      })),
      ...this.#pods.map(({ key, namespace, name, labels: own }, i) => ({
        kind: 'Pod',
        metadata: { name, namespace, labels: labels[key] ?? own },
        spec: { containers: [{ ports: containerPorts }] },
        status: { podIP: podAddress(family, i) },
      })),
      ...policies.map(({ kind = defaults?.kind ?? 'NetworkPolicy', name, namespace, spec }) => ({
        kind,
        metadata: { name, ...(namespace && { namespace }) },
        spec: this.#inFamily(family, kind === defaults?.kind ? { ...defaults.spec, ...spec } : spec),
      })),
    ];
    const { tiers, entities, problems } = readCluster(objects.map((value) => ({ value, where: '' })));
    assert.deepEqual(problems, []);
    const ends = this.ends(family);
    return {
      tiers,
      entities,
      names: new Map(Object.entries(names).map(([host, all]) => [ends.get(host) ?? assert.fail(host), all])),
      subjects: entities.filter(isPod).map((pod) => ({ pod, nets: [] })),
      subnets: [],
      families: [family],
      devices: 'fltp',
      bridge: 'cni0',
    };
  }

  /** Networks by their names. */
  #inFamily(family: Family, spec: object): object {
    const { nets } = this.#file;
    return JSON.parse(JSON.stringify(spec), (_, value: unknown) =>
      typeof value === 'string' && value.startsWith('$')
        ? (nets[value]?.[family] ?? assert.fail(value))
        : value,
    ) as object;
  }

  #probes(family: Family, expect: readonly string[]): readonly Probe[] {
    const lines = expect.map(parseLine);
    const ends = [...this.ends(family)];
    const isAmongPods = (key: string): boolean => key.includes('/');
    return ends.flatMap(([from, source]) =>
      ends.flatMap(([to, destination]) =>
        isAmongPods(from) || isAmongPods(to)
          ? this.#file.ports.map((port): Probe => {
              const [protocol = '', number] = port.split(' ');
              const line = lines.findLast((each) => each.isAbout(from, to, port));
              const isDenied = from !== to && line?.action === 'deny';
              return {
                text: `${from} to ${to} on ${port}`,
                source,
                destination,
                flow: {
                  family,
                  protocol: protocolNamed(protocol) ?? assert.fail(protocol),
                  port: Number(number),
                },
                expected: isDenied ? 'drop' : 'accept',
              };
            })
          : [],
      ),
    );
  }
}

/** `allow x/*,y/a to * on TCP 80,UDP`. */
function parseLine(text: string) {
  const [, action, from = '', to = '', on = '*'] =
    /^(allow|deny) (\S+) to (\S+)(?: on (.*))?$/.exec(text) ?? assert.fail(text);
  const isOneOf = (patterns: string, end: string): boolean =>
    patterns.split(',').some((each) => isLike(each, end));
  const isOn = (port: string): boolean =>
    on.split(',').some((each) => each === '*' || each === port || port.startsWith(`${each} `));
  return {
    action,
    isAbout: (source: string, destination: string, port: string): boolean =>
      isOneOf(from, source) && isOneOf(to, destination) && isOn(port),
  };
}

/** `*`, or a name of whose parts any may be `*`. */
function isLike(pattern: string, end: string): boolean {
  if (pattern === '*') return true;
  const [own, parts] = [pattern.split('/'), end.split('/')];
  return own.length === parts.length && own.every((part, i) => part === '*' || part === parts[i]);
}

export function podAddress(family: Family, index: number): string {
  return family === 4 ? `10.0.0.${index + 1}` : `fd00::${(index + 1).toString(16)}`;
}

export function isPod(entity: Entity): entity is PodEntity {
  return entity.kind === 'pod';
}

export const TABLES = ['netpol.yaml', 'cyclonus.yaml', 'cluster-network-policy.yaml'];

import { Fields } from '../../cluster/fields.ts';
import { FlatnetError } from '../../error.ts';
import { type Ip, parseIp } from '../../ip/address.ts';
import { type Cidr, contains, parseCidr } from '../../ip/cidr.ts';
import type { Problem } from '../../problem.ts';
import type { Cloud, CloudRoute, Inspection, OpenCloud, Origin } from '../cloud/cloud.ts';
import { ComputeApi } from './api.ts';
import { type Identity, readIdentity } from './metadata.ts';

/** The default of Compute Engine. */
const PRIORITY = 1000;
/** The most that the API gives at once. */
const PAGE = '500';
/** Where a route may lead. */
const TARGETS = [
  'nextHopInstance',
  'nextHopIp',
  'nextHopGateway',
  'nextHopIlb',
  'nextHopVpnTunnel',
  'nextHopPeering',
  'nextHopHub',
  'nextHopNetwork',
];

/** Opens the network of the instance that this runs on. */
export const openNetwork: OpenCloud = async (origin, signal) => new VpcNetwork(origin, signal);

class VpcNetwork implements Cloud {
  readonly #addresses: readonly Ip[];
  readonly #api: ComputeApi;
  readonly #signal: AbortSignal;
  #identity: Identity | undefined;
  /** This instance, as in `projects/P/zones/Z/instances/NAME`. */
  #own = '';

  constructor({ addresses }: Origin, signal: AbortSignal) {
    this.#addresses = Object.values(addresses);
    this.#api = new ComputeApi(signal);
    this.#signal = signal;
  }

  [Symbol.dispose](): void {}

  async inspect(): Promise<Inspection> {
    this.#identity ??= await readIdentity(this.#signal);
    const { project, zone, name } = this.#identity;
    this.#own = `projects/${project}/zones/${zone}/instances/${name}`;
    const instance = await this.#instance(this.#own);
    if (!instance) throw new FlatnetError('there is no such instance', { code: 'CLOUD', object: this.#own });
    const own = interfacesOf(instance).find((each) => this.#addresses.some((ip) => ip === addressOf(each)));
    const network = own?.string('network');
    if (network === undefined) {
      throw new FlatnetError(`none of its network interfaces has ${this.#addresses.join(' or ')}`, {
        code: 'CLOUD',
        object: this.#own,
        fix: 'set iface in the agent’s configuration to the interface that carries packets between nodes',
      });
    }
    const problems = instance.boolean('canIpForward') ? [] : [cannotForward(name)];
    return { tables: [pathOf(network)], problems };
  }

  async routes(tables: readonly string[], within: readonly Cidr[]): Promise<readonly CloudRoute[]> {
    const found: CloudRoute[] = [];
    for (const project of new Set(tables.map(projectOf))) {
      for (const route of await this.#list(project)) {
        const table = pathOf(route.string('network') ?? '');
        const destination = parseCidr(route.string('destRange') ?? '');
        if (tables.includes(table) && within.some((cidr) => contains(cidr, destination)))
          found.push(this.#read(route, table, destination));
      }
    }
    return found;
  }

  async addressesAt({ target }: CloudRoute): Promise<readonly string[] | undefined> {
    if (!/^projects\/[^/]+\/zones\/[^/]+\/instances\/[^/]+$/.test(target)) return [];
    const instance = await this.#instance(target);
    return (
      instance && interfacesOf(instance).flatMap((each) => [addressOf(each) ?? [], publicOf(each)].flat())
    );
  }

  async add(table: string, destination: Cidr): Promise<void> {
    const project = projectOf(table);
    const body = {
      name: nameOf(destination),
      description: `flatnet: the pods of ${this.#identity?.name}`,
      network: table,
      destRange: destination,
      priority: PRIORITY,
      tags: [],
      nextHopInstance: this.#own,
    };
    const path = `projects/${project}/global/routes`;
    await this.#api.change(project, { method: 'POST', path, body, permission: 'compute.routes.create' });
  }

  /** Compute Engine changes no route. */
  async replace(route: CloudRoute): Promise<void> {
    await this.remove(route);
    await this.add(route.table, route.destination);
  }

  /** By its id: another node makes a route of the same name. */
  async remove({ table, name = '', id = name }: CloudRoute): Promise<void> {
    const project = projectOf(table);
    const path = `projects/${project}/global/routes/${id}`;
    const permission = 'compute.routes.delete';
    await this.#api.change(project, { method: 'DELETE', path, mayBeAbsent: true, permission });
  }

  removal({ table, name = '' }: CloudRoute): string {
    return `gcloud compute routes delete ${name} --project ${projectOf(table)}`;
  }

  #instance(path: string): Promise<Fields | undefined> {
    return this.#api.ask({ method: 'GET', path, mayBeAbsent: true, permission: 'compute.instances.get' });
  }

  async #list(project: string): Promise<Fields[]> {
    const routes: Fields[] = [];
    let pageToken: string | undefined;
    do {
      const page = await this.#api.ask({
        method: 'GET',
        path: `projects/${project}/global/routes`,
        query: { maxResults: PAGE, ...(pageToken && { pageToken }) },
        permission: 'compute.routes.list',
      });
      routes.push(...(page?.list('items') ?? []).map((value) => new Fields(value, 'route')));
      pageToken = page?.string('nextPageToken');
    } while (pageToken);
    return routes;
  }

  #read(route: Fields, table: string, destination: Cidr): CloudRoute {
    const target = TARGETS.map((name) => route.string(name)).find((value) => value !== undefined) ?? '';
    const warnings = (route.list('warnings') ?? []).map((each) => new Fields(each).string('code'));
    const leads = pathOf(target) === this.#own ? 'here' : 'elsewhere';
    const id = route.string('id');
    return {
      table,
      destination,
      name: route.string('name') ?? '',
      ...(id !== undefined && { id }),
      target: pathOf(target),
      leads: warnings.includes('NEXT_HOP_INSTANCE_NOT_FOUND') ? 'nowhere' : leads,
    };
  }
}

function cannotForward(name: string): Problem {
  return {
    id: 'cloud-drops-pods',
    severity: 'error',
    what: `this instance, ${name}, drops pods’ packets, as its canIpForward is false`,
    fix: 'create it with --can-ip-forward: a running instance cannot be changed',
  };
}

/** flannel's, so that its nodes and ours know each other's routes. */
function nameOf(destination: Cidr): string {
  return `flannel-${destination.replace(/[./]/g, '-')}`;
}

/** The API gives whole URLs, in more than one form, and takes what follows the version. */
function pathOf(url: string): string {
  return url.replace(/^https?:\/\/[^/]+\/compute\/[^/]+\//, '');
}

/** A network may be another project's (Shared VPC); its routes are, too. */
function projectOf(table: string): string {
  return /^projects\/([^/]+)\//.exec(table)?.[1] ?? '';
}

function interfacesOf(instance: Fields): Fields[] {
  return (instance.list('networkInterfaces') ?? []).map((value) => new Fields(value, 'networkInterface'));
}

function publicOf(each: Fields): readonly string[] {
  const list = (each.list('accessConfigs') ?? []).map((value) => new Fields(value, 'accessConfig'));
  return list.flatMap((config) => config.string('natIP') ?? []);
}

function addressOf(each: Fields): Ip | undefined {
  return each.parsed('networkIP', parseIp);
}

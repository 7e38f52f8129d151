import type {
  EC2Client,
  Instance,
  InstanceNetworkInterface,
  NetworkInterface,
  Route,
  RouteTable,
} from '@aws-sdk/client-ec2';
import { awsVpc } from '../../backends/aws-vpc.ts';
import { Fields } from '../../cluster/fields.ts';
import { NO_RESOURCES } from '../../cluster/resources.ts';
import { FlatnetError } from '../../error.ts';
import { type Ip, parseIp } from '../../ip/address.ts';
import { type Cidr, contains, parseCidr } from '../../ip/cidr.ts';
import type { Problem } from '../../problem.ts';
import type { Cloud, CloudRoute, Inspection, OpenCloud, Origin } from '../cloud/cloud.ts';
import { cloudFailure, isNotFound } from './failure.ts';
import { type Identity, readIdentity } from './instance-metadata.ts';

type Sdk = typeof import('./sdk.ts');

/** Milliseconds. */
const CONNECT = 3000;
const REQUEST = 10_000;

/** This instance's network interface, as far as its routes are concerned. */
type Interface = { readonly id: string; readonly subnet: string; readonly vpc: string };

/** Opens the VPC of the instance that this runs on. */
export const openVpc: OpenCloud = async (origin, signal) => new Vpc(origin, await import('./sdk.ts'), signal);

class Vpc implements Cloud {
  readonly #configured: readonly string[];
  readonly #addresses: readonly Ip[];
  readonly #sdk: Sdk;
  readonly #signal: AbortSignal;
  #identity: Identity | undefined;
  #client: EC2Client | undefined;
  #own: Interface | undefined;

  constructor({ options, addresses }: Origin, sdk: Sdk, signal: AbortSignal) {
    this.#configured = awsVpc.options(new Fields(options, 'Backend'), NO_RESOURCES).routeTables;
    this.#addresses = Object.values(addresses);
    this.#sdk = sdk;
    this.#signal = signal;
  }

  [Symbol.dispose](): void {
    this.#client?.destroy();
  }

  async inspect(): Promise<Inspection> {
    const { instance, region } = await this.#identified();
    const own = await this.#ownInterface(instance);
    this.#own = interfaceOf(own);
    const unchecked = own.SourceDestCheck === true ? await this.#stopChecking(this.#own) : [];
    const table = await this.#ownTable(this.#own);
    if (this.#configured.length === 0) {
      if (table === undefined) throw this.#withoutTable(this.#own);
      return { tables: [table], problems: unchecked };
    }
    const { vpc, subnet } = this.#own;
    const found = await this.#tables([{ Name: 'route-table-id', Values: [...this.#configured] }]);
    for (const id of this.#configured) {
      const there = found.find(({ RouteTableId }) => RouteTableId === id);
      const fix = `list route tables of ${vpc}, or leave the field out`;
      if (!there) throw wrongTable(`there is no ${id} in region ${region}`, fix);
      if (there.VpcId !== vpc)
        throw wrongTable(`${id} is of ${there.VpcId}, and this instance of ${vpc}`, fix);
    }
    const isListed = table === undefined || this.#configured.includes(table);
    return {
      tables: this.#configured,
      problems: [...unchecked, ...(isListed ? [] : [unlisted(table, subnet)])],
    };
  }

  async routes(tables: readonly string[], within: readonly Cidr[]): Promise<readonly CloudRoute[]> {
    const found = await this.#tables([{ Name: 'route-table-id', Values: [...tables] }]);
    return found.flatMap(({ RouteTableId: table = '', Routes = [] }) =>
      Routes.flatMap((route) => {
        const destination = destinationOf(route);
        if (destination === undefined || !within.some((cidr) => contains(cidr, destination))) return [];
        return [{ table, destination, target: targetOf(route), leads: this.#leads(route) }];
      }),
    );
  }

  async addressesAt({ target }: CloudRoute): Promise<readonly string[] | undefined> {
    if (!target.startsWith('eni-')) return [];
    const { DescribeNetworkInterfacesCommand } = this.#sdk;
    try {
      const command = new DescribeNetworkInterfacesCommand({ NetworkInterfaceIds: [target] });
      const { NetworkInterfaces = [] } = await this.#connected.send(command, { abortSignal: this.#signal });
      const [found] = NetworkInterfaces;
      const { PrivateIpAddresses = [] } = found ?? {};
      const elastic = PrivateIpAddresses.flatMap(({ Association }) => Association?.PublicIp ?? []);
      return found && [...addressesOf(found), ...elastic];
    } catch (error) {
      if (isNotFound(error)) return undefined;
      throw this.#failure(error, 'DescribeNetworkInterfaces', target);
    }
  }

  async add(table: string, destination: Cidr): Promise<void> {
    const { CreateRouteCommand } = this.#sdk;
    const command = new CreateRouteCommand(this.#toHere(table, destination));
    await this.#connected
      .send(command, { abortSignal: this.#signal })
      .catch((error: unknown) => this.#fail(error, 'CreateRoute', `${table} ${destination}`));
  }

  async replace({ table, destination }: CloudRoute): Promise<void> {
    const { ReplaceRouteCommand } = this.#sdk;
    const command = new ReplaceRouteCommand(this.#toHere(table, destination));
    await this.#connected
      .send(command, { abortSignal: this.#signal })
      .catch((error: unknown) => this.#fail(error, 'ReplaceRoute', `${table} ${destination}`));
  }

  async remove({ table, destination }: CloudRoute): Promise<void> {
    const { DeleteRouteCommand } = this.#sdk;
    const command = new DeleteRouteCommand({ RouteTableId: table, ...field(destination) });
    await this.#connected.send(command, { abortSignal: this.#signal }).catch((error: unknown) => {
      if (!isNotFound(error)) this.#fail(error, 'DeleteRoute', `${table} ${destination}`);
    });
  }

  removal({ table, destination }: CloudRoute): string {
    const option = destination.includes(':') ? '--destination-ipv6-cidr-block' : '--destination-cidr-block';
    return `aws ec2 delete-route --route-table-id ${table} ${option} ${destination}`;
  }

  get #connected(): EC2Client {
    if (this.#client) return this.#client;
    throw new FlatnetError('inspect() comes first', { code: 'INTERNAL' });
  }

  async #identified(): Promise<Identity> {
    this.#identity ??= await readIdentity(this.#signal);
    this.#client ??= new this.#sdk.EC2Client({
      region: this.#identity.region,
      // Waits longer when EC2 limits requests.
      retryMode: 'adaptive',
      maxAttempts: 4,
      requestHandler: {
        connectionTimeout: CONNECT,
        requestTimeout: REQUEST,
        // It would only warn otherwise.
        throwOnRequestTimeout: true,
        // Between the parts of an answer.
        socketTimeout: REQUEST,
      },
    });
    return this.#identity;
  }

  async #ownInterface(id: string): Promise<InstanceNetworkInterface> {
    const { DescribeInstancesCommand } = this.#sdk;
    const command = new DescribeInstancesCommand({ InstanceIds: [id] });
    const { Reservations = [] } = await this.#connected
      .send(command, { abortSignal: this.#signal })
      .catch((error: unknown) => this.#fail(error, 'DescribeInstances', id));
    const instances = Reservations.flatMap(({ Instances = [] }) => Instances);
    const found = instances.flatMap(({ NetworkInterfaces = [] }: Instance) => NetworkInterfaces);
    const own = found.find((each) => addressesOf(each).some((ip) => this.#addresses.includes(ip)));
    if (own) return own;
    throw new FlatnetError(`none of its network interfaces has ${this.#addresses.join(' or ')}`, {
      code: 'CLOUD',
      object: id,
      fix: 'set iface in the agent’s configuration to the interface that carries packets between nodes',
    });
  }

  /** The source/destination check would drop pods' packets, as their addresses are not the instance's. */
  async #stopChecking({ id }: Interface): Promise<readonly Problem[]> {
    const { ModifyNetworkInterfaceAttributeCommand } = this.#sdk;
    const command = new ModifyNetworkInterfaceAttributeCommand({
      NetworkInterfaceId: id,
      SourceDestCheck: { Value: false },
    });
    try {
      await this.#connected.send(command, { abortSignal: this.#signal });
      return [];
    } catch (error) {
      this.#signal.throwIfAborted();
      return [
        {
          id: 'cloud-drops-pods',
          severity: 'error',
          what: `${id} of this instance drops pods’ packets, as its source/destination check is on`,
          cause: this.#failure(error, 'ModifyNetworkInterfaceAttribute', id).message,
          fix: `aws ec2 modify-network-interface-attribute --network-interface-id ${id} --no-source-dest-check`,
        },
      ];
    }
  }

  /** The table of the instance's subnet, or the main one of its VPC. */
  async #ownTable({ subnet, vpc }: Interface): Promise<string | undefined> {
    const [explicit] = await this.#tables([{ Name: 'association.subnet-id', Values: [subnet] }]);
    if (explicit) return explicit.RouteTableId;
    const [main] = await this.#tables([
      { Name: 'association.main', Values: ['true'] },
      { Name: 'vpc-id', Values: [vpc] },
    ]);
    return main?.RouteTableId;
  }

  async #tables(filters: { readonly Name: string; readonly Values: string[] }[]): Promise<RouteTable[]> {
    const { DescribeRouteTablesCommand } = this.#sdk;
    const all: RouteTable[] = [];
    let NextToken: string | undefined;
    do {
      const command = new DescribeRouteTablesCommand({ Filters: filters, ...(NextToken && { NextToken }) });
      const page = await this.#connected
        .send(command, { abortSignal: this.#signal })
        .catch((error: unknown) => this.#fail(error, 'DescribeRouteTables', filters[0]?.Values.join() ?? ''));
      all.push(...(page.RouteTables ?? []));
      NextToken = page.NextToken;
    } while (NextToken);
    return all;
  }

  /** A gateway or a peering connection that is gone was no node. */
  #leads({ State, NetworkInterfaceId, InstanceId }: Route): CloudRoute['leads'] {
    if (NetworkInterfaceId !== undefined && NetworkInterfaceId === this.#own?.id) return 'here';
    const isMachine = NetworkInterfaceId !== undefined || InstanceId !== undefined;
    return isMachine && State === 'blackhole' ? 'nowhere' : 'elsewhere';
  }

  #toHere(table: string, destination: Cidr) {
    return { RouteTableId: table, NetworkInterfaceId: this.#own?.id, ...field(destination) };
  }

  #withoutTable({ subnet, vpc }: Interface): FlatnetError {
    return wrongTable(
      `neither ${subnet} nor ${vpc} of this instance has a route table`,
      'set it, or associate a table with the subnet',
    );
  }

  #failure(error: unknown, action: string, object: string): FlatnetError {
    return cloudFailure(error, `ec2:${action}`, object);
  }

  #fail(error: unknown, action: string, object: string): never {
    this.#signal.throwIfAborted();
    throw this.#failure(error, action, object);
  }
}

function unlisted(table: string, subnet: string): Problem {
  return {
    id: 'cloud-drops-pods',
    severity: 'error',
    what: `this node’s packets to other nodes’ pods are lost: Backend.RouteTableID lacks ${table}, the route table of ${subnet}`,
    fix: 'add it, or associate the subnet with one that is listed',
  };
}

function wrongTable(text: string, fix: string): FlatnetError {
  return new FlatnetError(text, { code: 'CONFIG_INVALID', object: 'Backend.RouteTableID', fix });
}

function interfaceOf({ NetworkInterfaceId, SubnetId, VpcId }: InstanceNetworkInterface): Interface {
  return { id: NetworkInterfaceId ?? '', subnet: SubnetId ?? '', vpc: VpcId ?? '' };
}

function addressesOf({
  PrivateIpAddresses = [],
  Ipv6Addresses = [],
}: InstanceNetworkInterface | NetworkInterface): Ip[] {
  const four = PrivateIpAddresses.map(({ PrivateIpAddress }) => PrivateIpAddress);
  const six = Ipv6Addresses.map(({ Ipv6Address }) => Ipv6Address);
  return [...four, ...six].flatMap((address) => (address === undefined ? [] : parseIp(address)));
}

function destinationOf({ DestinationCidrBlock, DestinationIpv6CidrBlock }: Route): Cidr | undefined {
  const text = DestinationCidrBlock ?? DestinationIpv6CidrBlock;
  return text === undefined ? undefined : parseCidr(text);
}

/** Whichever of its many fields it is in: a gateway, a peering connection, … */
function targetOf(route: Route): string {
  const { NetworkInterfaceId, DestinationCidrBlock: _4, DestinationIpv6CidrBlock: _6, ...others } = route;
  const id = Object.entries(others).find(
    ([name, value]) => /(Id|Arn)$/.test(name) && typeof value === 'string',
  );
  return NetworkInterfaceId ?? (id ? String(id[1]) : 'an unknown target');
}

function field(destination: Cidr) {
  return destination.includes(':')
    ? { DestinationIpv6CidrBlock: destination }
    : { DestinationCidrBlock: destination };
}

import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import {
  AssociateRouteTableCommand,
  CreateRouteTableCommand,
  CreateSubnetCommand,
  CreateVpcCommand,
  DescribeNetworkInterfacesCommand,
  DescribeRouteTablesCommand,
  EC2Client,
  type Route,
  RunInstancesCommand,
} from '@aws-sdk/client-ec2';
import { withNetns } from '../../../src/linux/netns.ts';
import { eventually } from '../../store/servers.ts';

const PROGRAM = process.env.FLATNET_MOTO;

/** Why tests with moto are skipped; false when they run. In CI they must run. */
export const NO_MOTO =
  PROGRAM === undefined && !process.env.CI ? 'needs moto: scripts/test installs it' : false;

const REGION = 'eu-west-1';

export type Instance = { readonly id: string; readonly eni: string; readonly ip: string };

/** How requests are answered instead of by moto; undefined: by moto. */
export type Refusal = {
  readonly status: number;
  readonly code: string;
  readonly actions?: readonly string[];
};

/** Of which the metadata service has credentials. */
const ROLE = 'nodes';

/**
 * EC2 as moto plays it, in a VPC with two subnets, behind a relay that notes requests and can refuse them;
 * and an instance metadata service. The environment that the SDK reads says where they are.
 */
export class Ec2 implements AsyncDisposable {
  readonly client: EC2Client;
  vpc = '';
  /** By the addresses that they begin with. */
  readonly subnets = new Map<string, string>();
  /** The route table of the subnets, another one of the VPC, and one of another VPC. */
  table = '';
  second = '';
  foreign = '';
  /** The instance that the metadata service speaks for, unless it is asked from the address of another. */
  here: Instance | undefined;
  refusal: Refusal | undefined;
  /** No connection lasts. */
  isAway = false;
  /** Requests are taken, and never answered. */
  isSilent = false;
  /** Routes are said to lead to what is gone, which moto never says. */
  areDead = false;
  /** There seem to be no route tables, which moto does not let a VPC be without. */
  areHidden = false;
  /** What was asked of EC2 by the companions. */
  readonly actions: string[] = [];
  readonly #instances: Instance[] = [];
  readonly #process: ChildProcess;
  readonly #relay: Server;
  readonly #metadata: Server;
  readonly #elsewhere: Server[] = [];
  readonly #before: Readonly<Record<string, string | undefined>>;

  private constructor(process: ChildProcess, port: number) {
    this.#process = process;
    const endpoint = `http://127.0.0.1:${port}`;
    const credentials = { accessKeyId: 'test', secretAccessKey: 'test' };
    this.client = new EC2Client({ region: REGION, endpoint, credentials });
    this.#relay = createServer((request, response) => void this.#pass(request, response, endpoint));
    this.#metadata = createServer((request, response) => this.#tell(request, response));
    this.#before = Object.fromEntries(Object.keys(this.#environment(0, 0)).map((name) => [name, env[name]]));
  }

  /**
   * `api`: the URL at which it is to be served in a namespace (`serveIn`), which is all that those who start
   * there have to be told.
   */
  static async start(api?: string): Promise<Ec2> {
    assert.ok(PROGRAM, 'FLATNET_MOTO is not set: see scripts/moto');
    const port = await freePort();
    const child = spawn(PROGRAM, ['-H', '127.0.0.1', '-p', `${port}`], { stdio: 'ignore' });
    const ec2 = new Ec2(child, port);
    try {
      await eventually(() =>
        fetch(`http://127.0.0.1:${port}/moto-api/`).then(
          ({ ok }) => ok,
          () => false,
        ),
      );
      const [relay, metadata] = await Promise.all([listen(ec2.#relay), listen(ec2.#metadata)]);
      if (api) for (const name of Object.keys(ec2.#before)) delete env[name];
      Object.assign(env, api ? { AWS_ENDPOINT_URL_EC2: api } : ec2.#environment(relay, metadata));
      await ec2.#create();
      return ec2;
    } catch (error) {
      await ec2[Symbol.asyncDispose]();
      throw error;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const [name, value] of Object.entries(this.#before)) {
      if (value === undefined) delete env[name];
      else env[name] = value;
    }
    this.client.destroy();
    for (const server of [this.#relay, this.#metadata, ...this.#elsewhere]) {
      server.closeAllConnections();
      server.close();
    }
    const closed = once(this.#process, 'close');
    this.#process.kill('SIGKILL');
    await closed;
  }

  /** Serves the same at a namespace's addresses: EC2 at a port, metadata where instances expect it. */
  serveIn(netns: string, port: number): void {
    const relay = createServer((...call) => this.#relay.emit('request', ...call));
    const metadata = createServer((...call) => this.#metadata.emit('request', ...call));
    withNetns(netns, () => {
      relay.listen(port);
      metadata.listen(80);
    });
    this.#elsewhere.push(relay, metadata);
  }

  /** What the VPC's router does with a table: addresses of instances that forward packets, by network. */
  async forwarding(table: string): Promise<ReadonlyMap<string, string>> {
    const tables = await this.client.send(new DescribeRouteTablesCommand({ RouteTableIds: [table] }));
    const { NetworkInterfaces = [] } = await this.client.send(new DescribeNetworkInterfacesCommand({}));
    const all = tables.RouteTables?.flatMap(({ Routes = [] }) => Routes) ?? [];
    return new Map(
      all.flatMap(({ DestinationCidrBlock, DestinationIpv6CidrBlock, NetworkInterfaceId }) => {
        const to = NetworkInterfaces.find((each) => each.NetworkInterfaceId === NetworkInterfaceId);
        const destination = DestinationCidrBlock ?? DestinationIpv6CidrBlock;
        const ip = to?.PrivateIpAddress;
        return destination && ip && to?.SourceDestCheck === false ? [[destination, ip] as const] : [];
      }),
    );
  }

  /** `ip`: of one of the subnets. Default: any. */
  async run(ip?: string): Promise<Instance> {
    const { Instances = [] } = await this.client.send(
      new RunInstancesCommand({
        ImageId: 'ami-12c6146b',
        MinCount: 1,
        MaxCount: 1,
        SubnetId: [...this.subnets].find(([prefix]) => ip?.startsWith(prefix) ?? true)?.[1],
        ...(ip !== undefined && { PrivateIpAddress: ip }),
      }),
    );
    const [instance] = Instances;
    const [eni] = instance?.NetworkInterfaces ?? [];
    assert.ok(instance?.InstanceId && eni?.NetworkInterfaceId && eni.PrivateIpAddress);
    const run = { id: instance.InstanceId, eni: eni.NetworkInterfaceId, ip: eni.PrivateIpAddress };
    this.#instances.push(run);
    return run;
  }

  /** A table's routes to this network, in the cloud's words. */
  async routes(table: string, to: string): Promise<readonly Route[]> {
    const answer = await this.client.send(new DescribeRouteTablesCommand({ RouteTableIds: [table] }));
    const all = answer.RouteTables?.flatMap(({ Routes = [] }) => Routes) ?? [];
    return all.filter(({ DestinationCidrBlock }) => DestinationCidrBlock === to);
  }

  async #create(): Promise<void> {
    const vpc = async (CidrBlock: string): Promise<string> =>
      (await this.client.send(new CreateVpcCommand({ CidrBlock }))).Vpc?.VpcId ?? '';
    const table = async (VpcId: string): Promise<string> =>
      (await this.client.send(new CreateRouteTableCommand({ VpcId }))).RouteTable?.RouteTableId ?? '';
    this.vpc = await vpc('172.30.0.0/16');
    [this.table, this.second] = [await table(this.vpc), await table(this.vpc)];
    this.foreign = await table(await vpc('172.30.0.0/16'));
    for (const prefix of ['172.30.0.', '172.30.1.']) {
      const subnet = new CreateSubnetCommand({ VpcId: this.vpc, CidrBlock: `${prefix}0/24` });
      const SubnetId = (await this.client.send(subnet)).Subnet?.SubnetId ?? '';
      this.subnets.set(prefix, SubnetId);
      await this.client.send(new AssociateRouteTableCommand({ RouteTableId: this.table, SubnetId }));
    }
  }

  #environment(relay: number, metadata: number) {
    return {
      AWS_ENDPOINT_URL_EC2: `http://127.0.0.1:${relay}`,
      AWS_EC2_METADATA_SERVICE_ENDPOINT: `http://127.0.0.1:${metadata}`,
      AWS_ACCESS_KEY_ID: 'test',
      AWS_SECRET_ACCESS_KEY: 'test',
    };
  }

  async #pass(request: IncomingMessage, response: ServerResponse, endpoint: string): Promise<void> {
    if (this.isAway) {
      request.socket.destroy();
      return;
    }
    const body = await textOf(request);
    const action = new URLSearchParams(body).get('Action') ?? '';
    this.actions.push(action);
    if (this.isSilent) return;
    const { refusal } = this;
    if (refusal && (!refusal.actions || refusal.actions.includes(action))) {
      const { status, code } = refusal;
      const text = `<Response><Errors><Error><Code>${code}</Code><Message>as the test has it</Message></Error></Errors><RequestID>1</RequestID></Response>`;
      response.writeHead(status, { 'content-type': 'text/xml' }).end(text);
      return;
    }
    if (this.areHidden && action === 'DescribeRouteTables') {
      const text = `<${action}Response><requestId>1</requestId><routeTableSet/></${action}Response>`;
      response.writeHead(200, { 'content-type': 'text/xml' }).end(text);
      return;
    }
    const { authorization = '' } = request.headers;
    const headers = { authorization, 'content-type': 'application/x-www-form-urlencoded' };
    const answer = await fetch(endpoint, { method: 'POST', headers, body });
    const text = await answer.text();
    const said = this.areDead ? text.replaceAll('<state>active<', '<state>blackhole<') : text;
    response.writeHead(answer.status, { 'content-type': 'text/xml' }).end(said);
  }

  /** IMDSv2: nothing without a token. */
  #tell({ method, url, headers, socket }: IncomingMessage, response: ServerResponse): void {
    const here = this.#instances.find(({ ip }) => socket.remoteAddress?.endsWith(`:${ip}`)) ?? this.here;
    const credentials = { AccessKeyId: 'test', SecretAccessKey: 'test', Token: 'test', Code: 'Success' };
    const Expiration = new Date(Date.now() + 6 * 3_600_000).toISOString();
    const identity = { instanceId: here?.id, region: REGION, version: '2017-09-30' };
    const answers: Record<string, string> = {
      '/latest/dynamic/instance-identity/document': JSON.stringify(identity),
      '/latest/meta-data/iam/security-credentials/': ROLE,
      [`/latest/meta-data/iam/security-credentials/${ROLE}`]: JSON.stringify({ ...credentials, Expiration }),
    };
    const hasLife = headers['x-aws-ec2-metadata-token-ttl-seconds'] !== undefined;
    const answer = answers[url ?? ''];
    if (method === 'PUT' && url === '/latest/api/token' && hasLife) response.end('a-token');
    else if (headers['x-aws-ec2-metadata-token'] !== 'a-token') response.writeHead(401).end();
    else if (answer === undefined) response.writeHead(404).end();
    else response.end(answer);
  }
}

const { env } = process;

async function textOf(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString();
}

async function listen(server: Server): Promise<number> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}

async function freePort(): Promise<number> {
  const server = createServer();
  const port = await listen(server);
  server.close();
  return port;
}

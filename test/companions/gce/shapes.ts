/**
 * Requests as the public discovery document of compute v1 describes them: of the methods that flatnet uses,
 * the path, the parameters, and the fields of what is sent, with their types and patterns. `required`: by
 * its annotations.
 */
export type Shape =
  | { readonly type: 'string'; readonly pattern?: RegExp }
  | { readonly type: 'uint32'; readonly maximum?: number }
  | { readonly type: 'strings' };

export type Method = {
  readonly id: string;
  readonly verb: string;
  readonly path: string;
  readonly query: Readonly<Record<string, Shape>>;
  readonly body?: { readonly fields: Readonly<Record<string, Shape>>; readonly required: readonly string[] };
};

const NAME = '[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?';
const PROJECT = `(?:(?:[-a-z0-9]{1,63}\\.)*(?:${NAME}):)?(?:[0-9]{1,19}|(?:${NAME}))`;

/** What stands for a parameter of a path. */
const PARAMETERS: Readonly<Record<string, string>> = {
  project: PROJECT,
  zone: NAME,
  instance: `${NAME}|[0-9]{1,20}`,
  route: `${NAME}|[0-9]{1,20}`,
  operation: '[-a-z0-9_.]{1,63}',
};

const text: Shape = { type: 'string' };
/** RFC 9562; an id that a client gives its request. */
const requestId: Shape = { type: 'string', pattern: /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/ };

export const METHODS: readonly Method[] = [
  {
    id: 'compute.instances.get',
    verb: 'GET',
    path: 'projects/{project}/zones/{zone}/instances/{instance}',
    query: {},
  },
  {
    id: 'compute.routes.list',
    verb: 'GET',
    path: 'projects/{project}/global/routes',
    query: { filter: text, maxResults: { type: 'uint32', maximum: 500 }, orderBy: text, pageToken: text },
  },
  {
    id: 'compute.routes.insert',
    verb: 'POST',
    path: 'projects/{project}/global/routes',
    query: { requestId },
    body: {
      fields: {
        description: text,
        destRange: { type: 'string', pattern: /^[0-9.]+\/[0-9]+$/ },
        name: { type: 'string', pattern: new RegExp(`^${NAME}$`) },
        network: { type: 'string', pattern: new RegExp(`^projects/${PROJECT}/global/networks/${NAME}$`) },
        nextHopGateway: text,
        nextHopIlb: text,
        nextHopInstance: {
          type: 'string',
          pattern: new RegExp(`^projects/${PROJECT}/zones/${NAME}/instances/${NAME}$`),
        },
        nextHopIp: text,
        nextHopVpnTunnel: text,
        priority: { type: 'uint32', maximum: 65535 },
        tags: { type: 'strings' },
      },
      required: ['destRange', 'name', 'network', 'priority', 'tags'],
    },
  },
  {
    id: 'compute.routes.delete',
    verb: 'DELETE',
    path: 'projects/{project}/global/routes/{route}',
    query: { requestId },
  },
  {
    id: 'compute.globalOperations.get',
    verb: 'GET',
    path: 'projects/{project}/global/operations/{operation}',
    query: {},
  },
];

/** The method that a request is of, with the path's parameters. */
export function methodOf(
  verb: string,
  path: string,
): { readonly method: Method; readonly parameters: Readonly<Record<string, string>> } | undefined {
  for (const method of METHODS) {
    const pattern = method.path.replace(/\{(\w+)\}/g, (_, name: string) => `(?<${name}>${PARAMETERS[name]})`);
    const groups = method.verb === verb ? new RegExp(`^${pattern}$`).exec(path) : null;
    if (groups) return { method, parameters: { ...groups.groups } };
  }
  return undefined;
}

/** What is wrong with a request's parameters and body, by the document. */
export function faultsOf({ query, body }: Method, parameters: URLSearchParams, sent: unknown): string[] {
  const faults = [...parameters].flatMap(([name, value]) => {
    const shape = query[name];
    if (!shape) return [`unknown parameter ${name}`];
    return fits(shape, shape.type === 'uint32' ? Number(value) : value) ? [] : [`${name}: ${value}`];
  });
  if (!body) return sent === undefined ? faults : [...faults, 'a body'];
  const fields = Object.entries(Object(sent));
  for (const [name, value] of fields) {
    const shape = body.fields[name];
    if (!shape || !fits(shape, value)) faults.push(`${name}: ${JSON.stringify(value)}`);
  }
  const lacking = body.required.filter((name) => !fields.some(([each]) => each === name));
  return [...faults, ...lacking.map((name) => `lacks ${name}`)];
}

function fits(shape: Shape, value: unknown): boolean {
  if (shape.type === 'string') return typeof value === 'string' && (shape.pattern?.test(value) ?? true);
  if (shape.type === 'strings')
    return Array.isArray(value) && value.every((each) => typeof each === 'string');
  const { maximum = 0xffff_ffff } = shape;
  return Number.isInteger(value) && Number(value) >= 0 && Number(value) <= maximum;
}

// The complete plugin, compiled by Bun (scripts/build-shim). Passes environment and stdin to the agent and
// returns its answer. Container runtimes run shim.c, which executes this program for everything outside its
// fast path; if there was no C compiler, they run this one directly. Every import costs start-up time on
// every call, so code needed only while the agent is unavailable is loaded on demand.
import { AGENT_FILE, type AgentPlace, MAX_CONFIGURATION } from './agent-file.ts';
import { askAgent } from './ask-agent.ts';

/** The part of Bun used here; @types/bun would conflict with the Node.js types. */
declare const Bun: {
  readonly stdin: { text(): Promise<string> };
  readonly stdout: unknown;
  readonly stderr: unknown;
  file(path: string): { text(): Promise<string> };
  write(file: unknown, text: string): Promise<number>;
};

/**
 * Timeouts for the agent, in milliseconds, the same as in shim.c. Runtimes give up after a minute or more.
 */
const PATIENCE = new Map([
  ['ADD', 30_000],
  ['DEL', 10_000],
  ['STATUS', 3_000],
]);
const DEFAULT_PATIENCE = 20_000;

/** Milliseconds of the timeout already spent by shim.c. */
const WAITED = Number(process.argv[2] ?? 0);

/** Read by name: enumerating the environment would convert all of it to strings. */
const VARIABLES = ['CNI_COMMAND', 'CNI_CONTAINERID', 'CNI_NETNS', 'CNI_IFNAME', 'CNI_ARGS', 'CNI_PATH'];

type Found = { readonly [K in keyof AgentPlace]: string | undefined };
const NOWHERE: Found = { socket: undefined, stateDir: undefined };
const DEFAULT_SOCKET = '/run/flatnet/agent.sock';

void main().then((status) => process.exit(status));

async function main(): Promise<number> {
  const command = process.env.CNI_COMMAND;
  if (!command || command === 'VERSION') return answer(null, '', NOWHERE);
  const stdin = await Bun.stdin.text();
  const env: Record<string, string> = {};
  for (const name of VARIABLES) {
    const value = process.env[name];
    if (value !== undefined) env[name] = value;
  }
  const found = await findAgent(stdin);
  const agent = { ...found, socket: found.socket ?? DEFAULT_SOCKET };
  if (Buffer.byteLength(stdin) > MAX_CONFIGURATION) return answer(null, stdin, agent);
  try {
    const line = JSON.stringify({ op: 'cni', env, stdin });
    const reply = await askAgent(agent.socket, line, PATIENCE.get(command) ?? DEFAULT_PATIENCE, WAITED);
    if (reply.stdout) await Bun.write(Bun.stdout, reply.stdout);
    return reply.exit;
  } catch (error) {
    return answer(error, stdin, agent);
  }
}

async function answer(error: unknown, stdin: string, agent: Found): Promise<number> {
  const { answerAlone } = await import('./answer-alone.ts');
  const reply = answerAlone(process.env, stdin, error, agent);
  if (reply.stderr) await Bun.write(Bun.stderr, reply.stderr);
  if (reply.stdout) await Bun.write(Bun.stdout, reply.stdout);
  return reply.exit;
}

/**
 * Locates the agent from the configuration, or else from the file the agent writes next to the executables:
 * container runtimes generate the configuration of `loopback` themselves.
 */
async function findAgent(stdin: string): Promise<Found> {
  const configured = placeIn(stdin);
  const dirs = configured.socket ? [] : (process.env.CNI_PATH?.split(':') ?? []);
  for (const dir of dirs) {
    const text = Bun.file(`${dir}/${AGENT_FILE}`).text();
    const { socket, stateDir } = placeIn(await text.catch(() => ''));
    if (socket) return { socket, stateDir: configured.stateDir ?? stateDir };
  }
  return configured;
}

/** Reads our own keys case-sensitively: only we write them. */
function placeIn(json: string): Found {
  try {
    const { ipam, socket = ipam?.socket, stateDir = ipam?.stateDir } = JSON.parse(json);
    return { socket: nonEmpty(socket), stateDir: nonEmpty(stateDir) };
  } catch {
    // The agent, or answerAlone, reports the error.
    return NOWHERE;
  }
}

function nonEmpty(value: unknown): string | undefined {
  return typeof value === 'string' && value ? value : undefined;
}

import { askAgent } from '../agent/ask.ts';
import { codeOf } from '../error.ts';
import { SILENT } from '../log.ts';
import { isBroken, type PathReport } from '../probe/report.ts';
import { type ProbePage, SelfTest } from '../probe/self-test.ts';
import { type Finding, note, ok, wrong } from './finding.ts';
import { type Patient, rememberedFacts } from './patient.ts';

/** Peers tested at once. */
const PAGE = 16;
/** Milliseconds for a page: the slowest peers are those that do not answer. */
const PATIENCE = 60_000;

/**
 * Tests the ways to at most `limit` peers, by the agent, or without one by itself. Yields the reports as they
 * come, with the number of all peers.
 */
export async function* probePeers(patient: Patient, limit: number): AsyncGenerator<ProbePage> {
  const ask = asker(patient);
  // With none to test, too, it takes a question to know how many there are.
  let skip = 0;
  do {
    const page = await ask(skip, Math.min(PAGE, limit - skip));
    yield page;
    skip += PAGE;
    if (skip >= page.total) return;
  } while (skip < limit);
}

type Ask = (skip: number, limit: number) => Promise<ProbePage>;

/** An agent of an older release does not know the question. */
function asker(patient: Patient): Ask {
  const ask: Ask = (skip, limit) => askAgent(patient.socket, { op: 'probe', skip, limit }, PATIENCE);
  if (patient.status?.paths) return ask;
  const alone = new SelfTest(() => rememberedFacts(patient), SILENT);
  return (skip, limit) => alone.page(skip, limit);
}

/** One finding for each peer and family. */
export function peerFindings({ total, reports, isEarly }: ProbePage): Finding[] {
  if (isEarly) return [note('peers', 'not tested: the agent does not know them yet')];
  if (total === 0) return [ok('peers', 'there are none')];
  const tested = new Set(reports.map(({ peer }) => peer)).size;
  const rest = total - tested;
  return [
    ...reports.map(peerFinding),
    ...(rest > 0
      ? [note('peers', `${rest} more were not tested`, { fix: `--peers ${total} tests all` })]
      : []),
  ];
}

function peerFinding(report: PathReport): Finding {
  const { peer, family, carrier, mtu, what, cause, fix } = report;
  if (isBroken(report)) return wrong('peers', what ?? peer, { cause, fix });
  if (report.state === 'untested') return note('peers', what ?? peer, { cause, fix });
  const lost = report.loss ? `, ${Math.round(100 * report.loss)} % lost` : '';
  return ok('peers', `${peer} IPv${family}, ${carrier}: ${mtu} bytes pass${lost}`);
}

/** Why no peers can be tested at all. */
export function cannotProbe(error: unknown): Finding {
  const fix =
    codeOf(error) === 'SYSCALL' ? 'run this command as root, or the agent with CAP_NET_RAW' : undefined;
  return note('peers', `cannot be tested: ${error instanceof Error ? error.message : error}`, { fix });
}

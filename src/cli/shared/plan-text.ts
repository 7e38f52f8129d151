import { changes, type Line, type Plan } from '../../takeover/plan.ts';
import { type Cell, paint, type Style, table } from './output.ts';

const STYLES: Readonly<Record<Line['action'], Style>> = {
  keep: 'dim',
  leave: 'yellow',
  write: 'bold',
  move: 'bold',
  adopt: 'bold',
  remove: 'bold',
};

/** The plan as a table, and below it what is in the way. */
export function planText(plan: Plan): string {
  const rows = plan.steps.map(({ action, object, text }): Cell[] => [
    paint(STYLES[action], action),
    object,
    text,
  ]);
  const obstacles = plan.obstacles.map(({ what, fix }) => `! ${what}; ${fix}`);
  const todo = changes(plan).length;
  const end =
    obstacles.length > 0 ? obstacles.join('\n') : todo > 0 ? `${todo} steps to do` : 'nothing is left to do';
  return [table(['STEP', 'OBJECT', 'WHAT HAPPENS'], rows), end].filter(Boolean).join('\n\n');
}

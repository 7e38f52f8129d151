import { labNames, readState, requireRoot } from '../../lab/record/lab.ts';
import { newCommand } from '../shared/commands.ts';
import { print, table } from '../shared/output.ts';

export const command = newCommand('List the labs on this machine.', ['flatnet lab list'])
  .option('--json', 'print JSON')
  .action(({ json }: { readonly json?: boolean }) => {
    requireRoot();
    const labs = labNames().map((name) => {
      const state = readState(name);
      return {
        name,
        state: state?.phase === 'up' ? 'up' : 'incomplete',
        nodes: state?.nodes.length ?? 0,
        subnets: state?.subnets ?? 0,
        created: state?.created ?? '',
      };
    });
    print(labs, json, () => {
      const rows = labs.map((lab) => [
        lab.name,
        lab.state,
        `${lab.nodes}`,
        `${lab.subnets}`,
        lab.created.slice(0, 19).replace('T', ' '),
      ]);
      return (
        table(['LAB', 'STATE', 'NODES', 'SUBNETS', 'CREATED'], rows) ||
        'there are no labs; start one: flatnet lab up'
      );
    });
  });

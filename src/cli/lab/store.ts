import { startStore, stopStore, storeProcess } from '../../lab/machine/store.ts';
import { Lab } from '../../lab/record/lab.ts';
import { newCommand } from '../shared/commands.ts';
import { print } from '../shared/output.ts';
import { type LabOptions, labOptions } from './shared.ts';

export const command = newCommand('Stop or start the store that all nodes share.');

const stop = labOptions(
  newCommand(
    'Stop the store. Agents keep working with what they know and pods keep communicating, but with address blocks no new pod gets an address.',
    ['flatnet lab store stop'],
  ),
).action(async ({ lab: name, json }: LabOptions) => {
  await Lab.change(name, stopStore);
  print({ store: 'stopped' }, json, () => 'store stopped');
});

const start = labOptions(
  newCommand('Start the store again with its data, even after it was killed.', ['flatnet lab store start']),
).action(async ({ lab: name, json }: LabOptions) => {
  await Lab.change(name, async (lab) => {
    if (!storeProcess(lab)) await startStore(lab);
  });
  print({ store: 'running' }, json, () => 'store running');
});

command.addCommand(stop.name('stop').summary('stop the store'));
command.addCommand(start.name('start').summary('start the store again'));

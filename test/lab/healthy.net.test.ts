import { test } from 'node:test';
import { PRESET_NAMES } from '../../src/lab/network.ts';
import { NO_KERNEL } from '../state/namespace.ts';
import { NEED_MODULES, staysHealthy } from './healthy.ts';
import { CANNOT } from './host.ts';

for (const preset of PRESET_NAMES.filter((name) => !NEED_MODULES.includes(name))) {
  test(`a healthy lab shows no problem: preset ${preset}`, { skip: CANNOT || NO_KERNEL }, (t) =>
    staysHealthy(t, preset),
  );
}

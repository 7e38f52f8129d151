import { test } from 'node:test';
import { NEED_MODULES, staysHealthy } from './healthy.ts';
import { CANNOT } from './host.ts';

for (const preset of NEED_MODULES) {
  test(`a healthy lab shows no problem: preset ${preset}`, { skip: CANNOT, timeout: 900_000 }, (t) =>
    staysHealthy(t, preset),
  );
}

import { test } from 'node:test';
import { podsAreApart, podsReachAll } from './physical-pods.ts';

test('macvlan: pods reach all, and all reach pods', () =>
  podsReachAll({ wiring: 'macvlan', mode: 'bridge' }));

test('macvlan, private: pods reach neither each other nor their node', () => podsAreApart('private'));

test('macvlan, vepa: pods reach each other and their node only by a switch that sends frames back', () =>
  podsAreApart('vepa'));

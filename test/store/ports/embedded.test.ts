import { startEmbedded } from '../servers.ts';
import { portsConformance } from './conformance.ts';
import { overEtcd } from './etcd.ts';
import { policiesConformance } from './policies.ts';

portsConformance('etcd’s layout on the embedded server', overEtcd(startEmbedded));
policiesConformance('etcd’s layout on the embedded server', overEtcd(startEmbedded));

import { NO_ETCD, startEtcd } from '../servers.ts';
import { portsConformance } from './conformance.ts';
import { overEtcd } from './etcd.ts';
import { policiesConformance } from './policies.ts';

portsConformance('etcd’s layout on etcd', overEtcd(startEtcd), NO_ETCD);
policiesConformance('etcd’s layout on etcd', overEtcd(startEtcd), NO_ETCD);

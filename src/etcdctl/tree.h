/* tree.h - all commands of etcdctl, the same as upstream's. */
#ifndef ETCDCTL_TREE_H
#define ETCDCTL_TREE_H

#include "etcdctl/command.h"

extern const struct command command_tree;

#endif

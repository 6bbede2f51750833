/* Usage, list of flags and version. The flags come from the table; the layout is one that scripts for etcd's own can
 * read: "  --flag 'default'" and the text on the next line. */
#include "etcd/options.h"

#include "server/config.h"

void help_usage(struct buf *out) {
    buf_append_cstr(out,
                    "Usage:\n\n"
                    "  etcd [flags]          start a member\n"
                    "  etcd --version        print the version\n"
                    "  etcd -h | --help      list all flags\n\n"
                    "A member can also be told everything in a YAML file (flag --config-file); then all other flags\n"
                    "and all ETCD_* variables count for nothing.\n\n");
}

void help_flags(struct buf *out) {
    for (int group = GROUP_HIDDEN + 1; group < GROUP_COUNT; group++) {
        buf_printf(out, "\n%s:\n", option_group_titles[group]);
        for (size_t i = 0; i < option_row_count; i++) {
            const struct option_row *row = &option_rows[i];
            if (row->group != (enum option_group)group) continue;
            buf_printf(out, "  --%s '%s'\n    %s\n", row->name,
                       row->shown_default != NULL ? row->shown_default : row->default_text, row->help);
        }
    }
    buf_append_cstr(out, "\nEach flag can be given as a variable instead: --data-dir as ETCD_DATA_DIR.\n");
}

const char *help_architecture(void) {
#if defined(__x86_64__)
    return "amd64";
#elif defined(__aarch64__)
    return "arm64";
#else
    return "unknown";
#endif
}

/* Scripts look for these four lines; there is no Go, so the compiler stands in its place. */
void help_version(struct buf *out) {
    buf_printf(out,
               "etcd Version: %s\nGit SHA: Not provided (etcd-c)\nGo Version: none (C, gcc %s)\nGo OS/Arch: linux/%s\n",
               SERVER_VERSION, __VERSION__, help_architecture());
}

#include "etcdctl/table.h"

#include "base/arena.h"
#include "base/check.h"
#include "base/gotext.h"

#define WRAP_WIDTH 30

/* Code points: good enough for what stands in these tables. */
static size_t display_width(struct slice text) {
    size_t width = 0;
    const uint8_t *end = text.data + text.len;
    for (const uint8_t *at = text.data; at < end; width++) {
        uint32_t code_point;
        size_t length = utf8_decode(at, end, &code_point);
        at += length > 0 ? length : 1;
    }
    return width;
}

struct cell {
    struct slice *lines;
    size_t line_count;
    size_t width;
};

struct wrap {
    struct slice *words;
    size_t count;
    size_t limit;
};

/* Words i to j (exclusive) in a line; they lie behind each other in the text, one blank apart. */
static struct slice line_of(const struct wrap *wrap, size_t i, size_t j) {
    const uint8_t *end = wrap->words[j - 1].data + wrap->words[j - 1].len;
    return slice_make(wrap->words[i].data, (size_t)(end - wrap->words[i].data));
}

/* Breaks so that the sum of the squares of what lines lack of the limit is smallest; the last line is free. */
static void break_lines(const struct wrap *wrap, struct arena *arena, struct cell *cell) {
    size_t count = wrap->count;
    uint64_t *cost = arena_alloc(arena, (count + 1) * sizeof *cost);
    size_t *next = arena_alloc(arena, (count + 1) * sizeof *next);
    for (size_t i = count; i-- > 0;) {
        cost[i] = UINT64_MAX;
        next[i] = count;
        if (display_width(line_of(wrap, i, count)) <= wrap->limit) {
            cost[i] = 0;
            continue;
        }
        for (size_t j = i + 1; j < count; j++) {
            size_t width = display_width(line_of(wrap, i, j));
            if (width > wrap->limit) break;
            uint64_t lack = wrap->limit - width;
            if (cost[j] == UINT64_MAX || lack * lack + cost[j] >= cost[i]) continue;
            cost[i] = lack * lack + cost[j];
            next[i] = j;
        }
    }
    cell->lines = arena_alloc(arena, (count + 1) * sizeof *cell->lines);
    cell->line_count = 0;
    for (size_t i = 0; i < count; i = next[i]) cell->lines[cell->line_count++] = line_of(wrap, i, next[i]);
}

static struct cell make_cell(const char *text, struct arena *arena) {
    struct slice whole = slice_from_cstr(text);
    struct wrap wrap = {.words = arena_alloc(arena, (whole.len + 1) * sizeof(struct slice))};
    size_t width = display_width(whole);
    wrap.limit = width > WRAP_WIDTH ? WRAP_WIDTH : width;
    for (size_t from = 0; from <= whole.len;) {
        const uint8_t *blank = memchr(whole.data + from, ' ', whole.len - from);
        size_t to = blank ? (size_t)(blank - whole.data) : whole.len;
        wrap.words[wrap.count] = slice_make(whole.data + from, to - from);
        size_t word_width = display_width(wrap.words[wrap.count++]);
        if (word_width > wrap.limit) wrap.limit = word_width;
        from = to + 1;
    }
    struct cell cell = {.width = width > WRAP_WIDTH ? WRAP_WIDTH : width};
    break_lines(&wrap, arena, &cell);
    for (size_t i = 0; i < cell.line_count; i++) {
        size_t line_width = display_width(cell.lines[i]);
        if (line_width > cell.width) cell.width = line_width;
    }
    return cell;
}

static void append_blanks(struct buf *out, size_t count) {
    while (count-- > 0) buf_append_byte(out, ' ');
}

static void append_border(struct buf *out, const size_t *widths, size_t columns) {
    for (size_t i = 0; i < columns; i++) {
        buf_append_byte(out, '+');
        for (size_t dashes = widths[i] + 2; dashes > 0; dashes--) buf_append_byte(out, '-');
    }
    buf_append_cstr(out, "+\n");
}

void table_append(struct buf *out, const char *const *header, size_t columns, const char *const *cells, size_t rows) {
    CHECK(columns > 0);
    struct arena arena;
    arena_init(&arena, 0);
    size_t *widths = arena_alloc(&arena, columns * sizeof *widths);
    struct cell *made = arena_alloc(&arena, (rows * columns + 1) * sizeof *made);
    for (size_t c = 0; c < columns; c++) widths[c] = strlen(header[c]);
    for (size_t i = 0; i < rows * columns; i++) {
        made[i] = make_cell(cells[i], &arena);
        if (made[i].width > widths[i % columns]) widths[i % columns] = made[i].width;
    }
    append_border(out, widths, columns);
    for (size_t c = 0; c < columns; c++) {
        size_t gap = widths[c] - strlen(header[c]);
        buf_append_cstr(out, "| ");
        append_blanks(out, gap / 2);
        buf_append_cstr(out, header[c]);
        append_blanks(out, gap - gap / 2 + 1);
    }
    buf_append_cstr(out, "|\n");
    append_border(out, widths, columns);
    for (size_t r = 0; r < rows; r++) {
        const struct cell *row = &made[r * columns];
        size_t lines = 1;
        for (size_t c = 0; c < columns; c++)
            if (row[c].line_count > lines) lines = row[c].line_count;
        for (size_t line = 0; line < lines; line++) {
            for (size_t c = 0; c < columns; c++) {
                struct slice text = line < row[c].line_count ? row[c].lines[line] : SLICE_NONE;
                buf_append_cstr(out, "| ");
                append_blanks(out, widths[c] - display_width(text));
                buf_append_slice(out, text);
                buf_append_byte(out, ' ');
            }
            buf_append_cstr(out, "|\n");
        }
    }
    if (rows > 0) append_border(out, widths, columns);
    arena_release(&arena);
}

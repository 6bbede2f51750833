/* list.h - a doubly linked list through its elements.
 *
 * Floor 0. The head is a link of its own; an element not in a list has links that point to itself.
 */
#ifndef BASE_LIST_H
#define BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct list {
    struct list *next;
    struct list *previous;
};

#define CONTAINER_OF(pointer, type, member) ((type *)((char *)(pointer)-offsetof(type, member)))

static inline void list_init(struct list *self) { self->next = self->previous = self; }
static inline bool list_is_empty(const struct list *self) { return self->next == self; }

static inline void list_insert_after(struct list *place, struct list *element) {
    element->next = place->next;
    element->previous = place;
    place->next->previous = element;
    place->next = element;
}

static inline void list_push_front(struct list *head, struct list *element) { list_insert_after(head, element); }
static inline void list_push_back(struct list *head, struct list *element) {
    list_insert_after(head->previous, element);
}

/* Takes the element out of whatever list it is in; harmless when it is in none. */
static inline void list_remove(struct list *element) {
    element->previous->next = element->next;
    element->next->previous = element->previous;
    list_init(element);
}

/* Moves all elements of `from` to the end of `to`; `from` is empty afterwards. */
static inline void list_splice_back(struct list *to, struct list *from) {
    if (list_is_empty(from)) return;
    from->next->previous = to->previous;
    from->previous->next = to;
    to->previous->next = from->next;
    to->previous = from->previous;
    list_init(from);
}

/* The body may remove `it`, nothing else. */
#define LIST_FOREACH(it, head)                                                                                         \
    for (struct list *it = (head)->next, *it##_next_ = it->next; it != (head); it = it##_next_, it##_next_ = it->next)

#endif

# One set of warnings for all of our own code; generated code is built without them.
add_library(etcd_warnings INTERFACE)
target_compile_options(etcd_warnings INTERFACE
  -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wcast-qual -Wwrite-strings
  -Wvla -Wformat=2 -Wundef -Wno-unused-parameter -Wno-missing-field-initializers $<$<C_COMPILER_ID:GNU>:-Wno-format-truncation>)
if(ETCD_WERROR)
  target_compile_options(etcd_warnings INTERFACE -Werror)
endif()
if(ETCD_SANITIZE)
  add_compile_options(-fsanitize=${ETCD_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  add_link_options(-fsanitize=${ETCD_SANITIZE})
endif()
if(ETCD_FUZZ)
  # clang, unlike gcc, calls NULL + 0 undefined (C2y does not): every empty slice would be a finding.
  add_compile_options(-fsanitize=fuzzer-no-link -fno-sanitize=pointer-overflow)
endif()
if(ETCD_COVERAGE)
  add_compile_options(-fprofile-instr-generate -fcoverage-mapping)
  add_link_options(-fprofile-instr-generate)
endif()
add_compile_options(-fno-strict-aliasing -ffile-prefix-map=${CMAKE_SOURCE_DIR}/src/=)
add_compile_definitions(_GNU_SOURCE)

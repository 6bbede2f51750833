# etcd_module(name DEPS a b ... LIBS x y ...): every .c file of src/<name>/ becomes the static library etcd_<name>.
# DEPS are modules of lower floors, LIBS are outside libraries.
function(etcd_module name)
  cmake_parse_arguments(arg "" "" "DEPS;LIBS" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/${name}/*.c)
  if(NOT sources)
    add_library(etcd_${name} INTERFACE)
    set(scope INTERFACE)
  else()
    add_library(etcd_${name} STATIC ${sources})
    target_link_libraries(etcd_${name} PRIVATE etcd_warnings)
    set(scope PUBLIC)
  endif()
  target_include_directories(etcd_${name} ${scope} ${CMAKE_SOURCE_DIR}/src ${CMAKE_SOURCE_DIR}/include)
  list(TRANSFORM arg_DEPS PREPEND etcd_)
  target_link_libraries(etcd_${name} ${scope} ${arg_DEPS} ${arg_LIBS})
endfunction()

# Long ones that never have two threads are nothing for ThreadSanitizer.
set(ETCD_ONE_THREAD_TESTS unit_wal_golden unit_wal_crash unit_mvcc_index unit_raft_chaos unit_bolt_crash unit_bolt_tree
                          unit_bolt_freelist unit_bolt_format)

# etcd_unit_tests(module libs...): every tests/unit/<module>/test_*.c becomes the program and test unit_<module>_<what>.
function(etcd_unit_tests module)
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/unit/${module}/test_*.c)
  foreach(source ${sources})
    get_filename_component(stem ${source} NAME_WE)
    string(REGEX REPLACE "^test_" "" what ${stem})
    set(target unit_${module}_${what})
    add_executable(${target} ${source})
    target_link_libraries(${target} PRIVATE etcd_${module} ${ARGN} etcd_warnings PkgConfig::CMOCKA)
    target_compile_definitions(${target} PRIVATE TEST_SOURCE_DIR="${CMAKE_SOURCE_DIR}/tests")
    if(NOT (ETCD_SANITIZE STREQUAL "thread" AND target IN_LIST ETCD_ONE_THREAD_TESTS))
      add_test(NAME ${target} COMMAND ${target})
      set_tests_properties(${target} PROPERTIES LABELS unit TIMEOUT 300)
    endif()
  endforeach()
endfunction()

# fuzz/fuzz_*.c: one libFuzzer driver per parser of outside input.
file(GLOB drivers CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/fuzz/fuzz_*.c)
foreach(source ${drivers})
  get_filename_component(name ${source} NAME_WE)
  add_executable(${name} ${source})
  target_compile_options(${name} PRIVATE -fsanitize=fuzzer -Wno-missing-prototypes)
  target_link_options(${name} PRIVATE -fsanitize=fuzzer)
  target_link_libraries(${name} PRIVATE nb_cpu nb_quantize nb_evaluate nb_serve nb_loadgen)
endforeach()

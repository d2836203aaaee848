# The page at /: src/serve/page is bundled into one document and a C file with its bytes. Packages of npm are kept in
# build/page of the source tree, so that all build folders share them. Where the page cannot be made, AUTO takes
# page_absent.c instead.
set(NB_PAGE "AUTO" CACHE STRING "The page at /: AUTO (where Node.js and npm are found), ON or OFF")
set(page_source ${CMAKE_SOURCE_DIR}/src/serve/page)
set(page_data ${page_source}/absent/page_absent.c)
find_program(NB_NODE node)
find_program(NB_NPM npm)
if(NB_PAGE STREQUAL "ON" AND NOT (NB_NODE AND NB_NPM))
  message(FATAL_ERROR "NB_PAGE=ON needs Node.js and npm on the PATH")
endif()
if(NOT NB_PAGE STREQUAL "OFF" AND NB_NODE AND NB_NPM)
  set(absent ${page_data})
  set(page_data ${CMAKE_BINARY_DIR}/page_data.c)
  if(NB_PAGE STREQUAL "ON")
    set(absent "")
  endif()
  file(GLOB page_files CONFIGURE_DEPENDS ${page_source}/*.js ${page_source}/*.jsx ${page_source}/*.css
    ${page_source}/*.html ${page_source}/*.json ${page_source}/build/*.mjs)
  add_custom_command(OUTPUT ${page_data}
    COMMAND ${NB_NODE} ${page_source}/build/build.mjs ${page_data} ${CMAKE_SOURCE_DIR}/build/page ${absent}
    DEPENDS ${page_files} ${page_source}/absent/page_absent.c
    COMMENT "The page at /" VERBATIM)
endif()
target_sources(nb_serve PRIVATE ${page_data})

# The page at /: src/serve/page is bundled into one document and a C file with its bytes. Packages of npm are kept in
# build/page of the source tree, so that all build folders share them. Where the page cannot be made, AUTO takes
# page_absent.c instead.
set(NB_PAGE "AUTO" CACHE STRING "The page at /: AUTO (where Node.js 18 and npm are found), ON or OFF")
find_program(NB_NODE node)
find_program(NB_NPM npm)
set(node_version 0)
if(NB_NODE)
  execute_process(COMMAND ${NB_NODE} --version OUTPUT_VARIABLE node_version OUTPUT_STRIP_TRAILING_WHITESPACE)
  string(REPLACE "v" "" node_version "${node_version}")
endif()
set(NB_HAVE_PAGE OFF)
if(NOT NB_PAGE STREQUAL "OFF" AND NB_NPM AND node_version VERSION_GREATER_EQUAL 18)
  set(NB_HAVE_PAGE ON)
elseif(NB_PAGE STREQUAL "ON")
  message(FATAL_ERROR "NB_PAGE=ON needs Node.js 18 or newer (found: ${node_version}) and npm on the PATH")
endif()

set(page_source ${CMAKE_SOURCE_DIR}/src/serve/page)
set(page_data ${page_source}/absent/page_absent.c)
if(NB_HAVE_PAGE)
  set(page_data ${CMAKE_BINARY_DIR}/page_data.c)
  set(page_absent "")
  if(NB_PAGE STREQUAL "AUTO")
    set(page_absent ${page_source}/absent/page_absent.c)
  endif()
  file(GLOB page_files CONFIGURE_DEPENDS ${page_source}/*.js ${page_source}/*.jsx ${page_source}/*.css
    ${page_source}/*.html ${page_source}/*.json ${page_source}/build/*.mjs)
  add_custom_command(OUTPUT ${page_data}
    COMMAND ${NB_NODE} ${page_source}/build/build.mjs ${page_data} ${CMAKE_SOURCE_DIR}/build/page ${page_absent}
    DEPENDS ${page_files} ${page_absent}
    COMMENT "The page at /" VERBATIM)
endif()
target_sources(nb_serve PRIVATE ${page_data})

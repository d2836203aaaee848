# The installed tree: program, library, manual pages and completions. The last two are written by the program itself.
if(NOT TARGET nibble_shared)
  return()
endif()
install(TARGETS nibble RUNTIME)
install(TARGETS nibble_shared nibble_static)
install(FILES include/nibble.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(FILES ${CMAKE_BINARY_DIR}/nibble.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
install(FILES README.md DESTINATION ${CMAKE_INSTALL_DOCDIR})

set(share ${CMAKE_BINARY_DIR}/share)
install(CODE "execute_process(COMMAND ${CMAKE_SOURCE_DIR}/cmake/write_share \"$<TARGET_FILE:nibble>\" \"${share}\"
  COMMAND_ERROR_IS_FATAL ANY)")
install(DIRECTORY ${share}/man1 DESTINATION ${CMAKE_INSTALL_MANDIR})
install(FILES ${share}/nibble.bash DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions RENAME nibble)
install(FILES ${share}/_nibble DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/vendor-completions)
install(FILES ${share}/nibble.fish DESTINATION ${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d)

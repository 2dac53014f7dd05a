// Before the first paint: the theme that this browser chose.
(function () {
  try {
    var theme = JSON.parse(localStorage.getItem('infernet.theme'))
    if (theme === 'light' || theme === 'dark') document.documentElement.dataset.theme = theme
  } catch (error) { /* storage is blocked: as the system has it */ }
})()

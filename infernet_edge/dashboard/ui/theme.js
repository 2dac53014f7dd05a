// Before the first paint: the theme; and the first data, while the modules load.
try {
	const theme = JSON.parse(localStorage.getItem('infernet.theme'))
	if (theme) document.documentElement.dataset.theme = theme
	const token = sessionStorage.getItem('infernet.token') || localStorage.getItem('infernet.token')
	if (!location.hash.startsWith('#token')) window.first = fetch('api/overview', { headers: token ? { authorization: `Bearer ${token}` } : {}, signal: AbortSignal.timeout(1e4), cache: 'no-store', credentials: 'omit', redirect: 'error' }).catch(() => {})
} catch { /* storage is blocked */ }
